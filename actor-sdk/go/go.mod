module lattice/actor

go 1.24

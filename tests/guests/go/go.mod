module lattice-test-go

go 1.24

require lattice/actor v0.0.0

replace lattice/actor => ./.lattice

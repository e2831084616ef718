package main

import (
	"testing"

	lattice "lattice/actor"
)

func TestAReceiptHasALineForEachThing(t *testing.T) {
	bill := lattice.Args{"lines": lattice.Args{"tea": 2, "cup": 1}, "tax_cents": 450, "gross_cents": 2250}
	mesh := lattice.NewMesh().Actor("receipt", lattice.Default)
	text, err := lattice.Call[string](mesh.Context(), "receipt", "write", bill)
	if err != nil || text != "  1 cup\n  2 tea\ntotal 22.50, of which tax 4.50" {
		t.Error(text, err)
	}
}

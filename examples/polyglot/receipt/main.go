// What a customer takes home: a bill as lines of text.
package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	lattice "lattice/actor"
)

// Bill is what the till has counted.
type Bill struct {
	Lines      map[string]int `json:"lines"`
	NetCents   int            `json:"net_cents,omitempty"`
	TaxCents   int            `json:"tax_cents"`
	GrossCents int            `json:"gross_cents"`
}

func init() {
	lattice.Handle("write", write, lattice.Idempotent)
}

func write(_ *lattice.Context, bill Bill) (string, error) {
	if bill.GrossCents < bill.TaxCents {
		return "", lattice.Reject("odd-bill", "a tax of %s is more than the bill", euros(bill.TaxCents))
	}
	var text strings.Builder
	for _, sku := range slices.Sorted(maps.Keys(bill.Lines)) {
		fmt.Fprintf(&text, "%3d %s\n", bill.Lines[sku], sku)
	}
	fmt.Fprintf(&text, "total %s, of which tax %s", euros(bill.GrossCents), euros(bill.TaxCents))
	return text.String(), nil
}

func euros(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

func main() { lattice.Main() }

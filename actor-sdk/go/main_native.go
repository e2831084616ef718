//go:build !wasip1

package lattice

import (
	"fmt"
	"os"
)

// Main is all that the function main of an actor does. In a lattice it is never called; `lattice build` runs the program to
// learn which operations it has.
func Main() {
	said, err := Default.describe()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(said))
}

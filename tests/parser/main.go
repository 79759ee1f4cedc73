// Command oracle reads metrics pages by Prometheus's own parsers of the exposition formats, and
// measures their speed.
//
//	oracle parse < requests.jsonl       one JSON line in, one JSON line out, until the input ends
//	oracle bench FILE [-seconds 2]      two JSON lines about the speed of the text parser
//
// The samples are those that the parser hands to Prometheus's scrape loop: before relabelling, and
// before the loop rejects names or repeated series. The parsers run with Prometheus's default
// options.
package main

import (
	"fmt"
	"os"
)

func main() {
	err := fmt.Errorf("usage: oracle parse | oracle bench FILE [-seconds 2]")
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "parse":
		err = answerAll(os.Stdin, os.Stdout)
	case len(args) >= 2 && args[0] == "bench":
		err = bench(args[1], args[2:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

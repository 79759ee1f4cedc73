// Command oracle asks Prometheus's own parsers of the exposition formats what is on a metrics page, and how long they take to read it.
//
//	oracle parse < requests.jsonl       one JSON line in, one JSON line out, until the input ends
//	oracle bench FILE [-seconds 2]      two JSON lines about the speed of the text parser
//
// The samples are those of Prometheus's scrape loop at the point where the parser hands them over: before relabelling, and
// before the loop refuses names or repeated series. The parsers run with the options that Prometheus has by default.
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

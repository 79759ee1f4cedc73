package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const rounds = 10

type speed struct {
	Parser    string  `json:"parser"`
	Bytes     int     `json:"bytes"`
	Samples   int     `json:"samples"`
	Passes    int     `json:"passes"`      // in all rounds
	NsPerPass int64   `json:"ns_per_pass"` // of the best round: other work on the machine can only slow one down
	MBPerS    float64 `json:"mb_per_s"`    // of the best round; a MB is a million bytes
}

// bench measures the text parser twice: with the labels of every sample, which any reader of pages
// needs, and without. Prometheus's scrape loop does the second for series that it knows, which it finds
// by their bytes on the page.
func bench(file string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	seconds := flags.Float64("seconds", 2, "how long to measure each of the two")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *seconds <= 0 || flags.NArg() > 0 {
		return errors.New("usage: oracle bench FILE [-seconds 2]")
	}
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	round := time.Duration(*seconds / rounds * float64(time.Second))
	for _, variant := range []struct {
		name       string
		withLabels bool
	}{{"prometheus text", true}, {"prometheus text, labels not materialised", false}} {
		result := speed{Parser: variant.name, Bytes: len(page)}
		symbols := labels.NewSymbolTable() // Prometheus keeps one for all scrapes of a pool
		for range rounds {
			started, passes := time.Now(), 0
			var took time.Duration
			for took < round || passes == 0 {
				if result.Samples, err = pass(page, symbols, variant.withLabels); err != nil {
					return fmt.Errorf("parsing %s: %w", file, err)
				}
				passes++
				took = time.Since(started)
			}
			result.Passes += passes
			if each := took.Nanoseconds() / int64(passes); result.NsPerPass == 0 || each < result.NsPerPass {
				result.NsPerPass = each
			}
		}
		result.MBPerS = math.Round(float64(len(page))*1e4/float64(result.NsPerPass)) / 10
		if err := json.NewEncoder(out).Encode(result); err != nil {
			return err
		}
	}
	return nil
}

// These variables receive the results of a pass, so that the compiler cannot remove the work.
var (
	sum float64
	set labels.Labels
)

// pass reads the page once, as the scrape loop does, and counts its samples.
func pass(page []byte, symbols *labels.SymbolTable, withLabels bool) (int, error) {
	parser, err := textparse.New(page, contentTypes["text"], symbols, textparse.ParserOptions{})
	if err != nil {
		return 0, err
	}
	for samples := 0; ; {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return samples, nil
		}
		if err != nil {
			return samples, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		samples++
		_, _, value := parser.Series()
		sum += value
		if withLabels {
			parser.Labels(&set)
		}
	}
}

// Command helm renders and checks a chart with Helm's own packages, for the tests of Ark's chart.
//
// It is what `helm lint` and `helm template --include-crds` do without the rest of Helm, which takes twice as long to
// build: registries, storage of releases, a client of its own.
//
// Usage: helm CHART NAMESPACE <VALUES
//
// VALUES is JSON or YAML. The documents go to standard output, the definitions first, as Helm installs them.
package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: helm CHART NAMESPACE <VALUES")
		os.Exit(2)
	}
	text, err := render(os.Args[1], os.Args[2], os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(text)
}

func render(folder, namespace string, input io.Reader) (string, error) {
	text, err := io.ReadAll(input)
	if err != nil {
		return "", err
	}
	values, err := common.ReadValues(text)
	if err != nil {
		return "", fmt.Errorf("values: %w", err)
	}
	chart, err := loader.Load(folder)
	if err != nil {
		return "", err
	}
	release := common.ReleaseOptions{Name: "ark", Namespace: namespace, Revision: 1, IsInstall: true}
	// Checks the values against the chart's schema, too.
	merged, err := util.ToRenderValues(chart, values, release, nil)
	if err != nil {
		return "", err
	}
	files, err := (engine.Engine{Strict: true}).Render(chart, merged)
	if err != nil {
		return "", err
	}
	for _, message := range lint.RunAll(folder, values, namespace).Messages {
		if message.Severity >= support.WarningSev {
			return "", fmt.Errorf("lint: %s", message)
		}
	}
	var out strings.Builder
	for _, definition := range chart.CRDObjects() {
		fmt.Fprintf(&out, "---\n%s\n", definition.File.Data)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if !strings.HasSuffix(name, "NOTES.txt") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&out, "---\n%s\n", files[name])
	}
	return out.String(), nil
}

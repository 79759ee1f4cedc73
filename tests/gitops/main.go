// Command gitops answers questions about objects as GitOps tools do, by their own libraries.
//
//	gitops kstatus < OBJECT              the status and the message of kstatus, on two lines
//	gitops health FOLDER < OBJECT        Argo CD's health by the scripts of FOLDER, as JSON
//	gitops action FOLDER NAME < OBJECT   the object as an Argo CD action leaves it, as JSON
//	gitops customization FOLDER          runs the tests of FOLDER, in the format of Argo CD's own
//	gitops flux-apply < OBJECTS          applies objects as Flux's kustomize-controller does
//
// Objects are YAML or JSON. flux-apply uses the cluster of KUBECONFIG.
package main

import (
	"fmt"
	"os"
)

func main() {
	err := fmt.Errorf("unknown arguments; see the comment of tests/gitops/main.go")
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "kstatus":
		err = kstatus(os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "health":
		err = printHealth(args[1], os.Stdin, os.Stdout)
	case len(args) == 3 && args[0] == "action":
		err = printAction(args[1], args[2], os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "customization":
		err = testCustomization(args[1], os.Stdout)
	case len(args) == 1 && args[0] == "flux-apply":
		err = fluxApply(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

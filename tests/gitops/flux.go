package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The name of Flux's controller of Kustomizations, which is its field manager.
const kustomizeController = "kustomize-controller"

// fluxApply applies objects by Flux's library, with the options that its kustomize-controller
// passes: see the reconciler in internal/controller of fluxcd/kustomize-controller.
func fluxApply(in io.Reader, out io.Writer) error {
	objects, err := utils.ReadObjects(in)
	if err != nil {
		return fmt.Errorf("reading the objects: %w", err)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return err
	}
	kube, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	owner := ssa.Owner{Field: kustomizeController, Group: "kustomize.toolkit.fluxcd.io"}
	manager := ssa.NewResourceManager(kube, nil, owner)
	limited, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	changes, err := manager.ApplyAll(limited, objects, applyOptions())
	if err != nil {
		return err
	}
	for _, change := range changes.Entries {
		fmt.Fprintln(out, change.String())
	}
	return nil
}

func applyOptions() ssa.ApplyOptions {
	options := ssa.DefaultApplyOptions()
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation},
		// Fields that these have set become the controller's, which then removes what Git lacks.
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: kustomizeController, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
	}
	return options
}

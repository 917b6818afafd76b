// Package suite runs the end-to-end suite of virtual-kubelet against the node named by NODE, through KUBECONFIG.
package suite

import (
	"os"
	"testing"
	"time"

	vke2e "github.com/virtual-kubelet/virtual-kubelet/test/e2e"
)

func TestSuite(t *testing.T) {
	vke2e.NewEndToEndTestSuite(vke2e.EndToEndTestSuiteConfig{
		Kubeconfig:   os.Getenv("KUBECONFIG"),
		Namespace:    "default",
		NodeName:     os.Getenv("NODE"),
		WatchTimeout: 30 * time.Second,
	}).Run(t)
}

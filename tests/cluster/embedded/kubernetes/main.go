// One binary that holds the upstream Kubernetes components, kubectl and etcd.
// It answers to the name it is called by (a symlink) or to its first argument.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	// as in upstream's own API server and controller manager: a CronJob's time zone is known on a machine without zoneinfo
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var upstream = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 kubeletCommand(kubelet.NewKubeletCommand),
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

// kubeletCommand takes upstream's constructor, which has a context since Kubernetes 1.34.
func kubeletCommand(constructor any) func() *cobra.Command {
	if withContext, ok := constructor.(func(context.Context) *cobra.Command); ok {
		return func() *cobra.Command { return withContext(context.Background()) }
	}
	return constructor.(func() *cobra.Command)
}

func main() {
	os.Args[0] = filepath.Base(os.Args[0])
	if !known(os.Args[0]) {
		os.Args = os.Args[1:]
	}
	if len(os.Args) == 0 || !known(os.Args[0]) {
		fmt.Fprintln(os.Stderr, "name a component as the first argument, or call this by its name:", names())
		os.Exit(2)
	}
	if os.Args[0] == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	os.Exit(cli.Run(upstream[os.Args[0]]()))
}

func known(name string) bool {
	return name == "etcd" || upstream[name] != nil
}

func names() []string {
	all := []string{"etcd"}
	for name := range upstream {
		all = append(all, name)
	}
	return all
}

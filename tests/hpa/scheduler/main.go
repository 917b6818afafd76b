// The oracle judges nodes by kube-scheduler's own plugins, as they come: one cluster and one pod a line in, the score of each
// node that fits a line out.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

type cluster struct {
	Nodes       []*v1.Node           `json:"nodes"`
	Pods        []*v1.Pod            `json:"pods"`
	ReplicaSets []*appsv1.ReplicaSet `json:"replicaSets"`
	Pod         *v1.Pod              `json:"pod"`
}

type answer struct {
	Scores  map[string]int64            `json:"scores"`
	Plugins map[string]map[string]int64 `json:"plugins"`
}

// What places pods by labels, taints and room. Left out are plugins for volumes, devices and gangs, of which the pods have none.
var judging = map[string]bool{
	"PrioritySort": true, "NodeUnschedulable": true, "NodeName": true, "TaintToleration": true, "NodeAffinity": true,
	"NodePorts": true, "NodeResourcesFit": true, "PodTopologySpread": true, "InterPodAffinity": true,
	"NodeResourcesBalancedAllocation": true, "ImageLocality": true, "DefaultBinder": true,
}

func main() {
	metrics.Register()
	defaults, err := latest.Default()
	must(err)
	profile := defaults.Profiles[0]
	var enabled []config.Plugin
	for _, plugin := range profile.Plugins.MultiPoint.Enabled {
		if judging[plugin.Name] {
			enabled = append(enabled, plugin)
		}
	}
	if len(enabled) != len(judging) {
		panic("a plugin is missing")
	}
	profile.Plugins.MultiPoint.Enabled = enabled

	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var asked cluster
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			must(decoder.Decode(&asked))
			told, err := json.Marshal(judged(asked, profile))
			must(err)
			out.Write(told)
			out.WriteByte('\n')
			must(out.Flush())
		}
		if err != nil {
			return
		}
	}
}

func judged(asked cluster, profile config.KubeSchedulerProfile) answer {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset()
	informers := informers.NewSharedInformerFactory(client, 0)
	for _, set := range asked.ReplicaSets {
		must(informers.Apps().V1().ReplicaSets().Informer().GetIndexer().Add(set))
	}
	snapshot := cache.NewSnapshot(asked.Pods, asked.Nodes)
	scheduler, err := runtime.NewFramework(ctx, plugins.NewInTreeRegistry(), &profile, runtime.WithClientSet(client),
		runtime.WithInformerFactory(informers), runtime.WithSnapshotSharedLister(snapshot))
	must(err)

	told := answer{Scores: map[string]int64{}, Plugins: map[string]map[string]int64{}}
	state := framework.NewCycleState()
	only, status, _ := scheduler.RunPreFilterPlugins(ctx, state, asked.Pod)
	if !status.IsSuccess() {
		if status.IsRejected() {
			return told
		}
		panic(status.AsError())
	}
	fitting, err := snapshot.NodeInfos().List()
	must(err)
	all := fitting
	fitting = nil
	for _, node := range all {
		if only != nil && !only.AllNodes() && !only.NodeNames.Has(node.Node().Name) {
			continue
		}
		if status := scheduler.RunFilterPlugins(ctx, state, asked.Pod, node); status.IsSuccess() {
			fitting = append(fitting, node)
		} else if !status.IsRejected() {
			panic(status.AsError())
		}
	}
	if len(fitting) == 0 {
		return told
	}
	if status := scheduler.RunPreScorePlugins(ctx, state, asked.Pod, fitting); !status.IsSuccess() {
		panic(status.AsError())
	}
	scores, status := scheduler.RunScorePlugins(ctx, state, asked.Pod, fitting)
	if !status.IsSuccess() {
		panic(status.AsError())
	}
	for _, node := range scores {
		told.Scores[node.Name] = node.TotalScore
		told.Plugins[node.Name] = map[string]int64{}
		for _, plugin := range node.Scores {
			told.Plugins[node.Name][plugin.Name] = plugin.Score
		}
	}
	return told
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

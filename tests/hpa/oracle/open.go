// Opens upstream's controller: this file is compiled into a copy of its package, whose clock is Clock.

package podautoscaler

import (
	"context"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	scaleclient "k8s.io/client-go/scale"
	"k8s.io/client-go/tools/record"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/monitor"
	"k8s.io/kubernetes/pkg/controller/util/selectors"
)

var (
	now   time.Time
	looks time.Duration
)

// Clock tells the moment of the sync. Each look at it takes a nanosecond, so a later sync is a little later than it says.
func Clock() time.Time {
	looks++
	return now.Add(looks)
}

// World is what the controller reads and writes.
type World struct {
	Scales  scaleclient.ScalesGetter
	HPAs    autoscalingclient.HorizontalPodAutoscalersGetter
	HPAList autoscalinglisters.HorizontalPodAutoscalerLister
	PodList corelisters.PodLister
	Mapper  apimeta.RESTMapper
	Metrics metricsclient.MetricsClient
}

// Flags are kube-controller-manager's.
type Flags struct {
	Tolerance                                      float64
	Downscale, CPUInitialization, InitialReadiness time.Duration
}

// Open makes a controller that has seen nothing yet.
func Open(world World, flags Flags) *HorizontalController {
	return &HorizontalController{
		eventRecorder:                &record.FakeRecorder{},
		scaleNamespacer:              world.Scales,
		hpaNamespacer:                world.HPAs,
		hpaLister:                    world.HPAList,
		podLister:                    world.PodList,
		mapper:                       world.Mapper,
		tolerance:                    flags.Tolerance,
		downscaleStabilisationWindow: flags.Downscale,
		monitor:                      monitor.New(),
		replicaCalc:                  NewReplicaCalculator(world.Metrics, world.PodList, flags.CPUInitialization, flags.InitialReadiness),
		recommendations:              map[string][]timestampedRecommendation{},
		scaleUpEvents:                map[string][]timestampedScaleEvent{},
		scaleDownEvents:              map[string][]timestampedScaleEvent{},
		hpaSelectors:                 selectors.NewBiMultimap(),
	}
}

// Sync reconciles the HPA of that key at that moment.
func (a *HorizontalController) Sync(ctx context.Context, key string, at time.Time) error {
	now = at
	_, err := a.reconcileKey(ctx, key)
	return err
}

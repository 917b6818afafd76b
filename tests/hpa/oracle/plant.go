package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	scaleclient "k8s.io/client-go/scale"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	customapi "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalapi "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsapi "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"

	"burstlet.dev/controlplane/hpaoracle/podautoscaler"
)

const (
	namespace = "default"
	name      = "app"
)

var errNotFound = errors.New("the server could not find the requested resource")

type scenario struct {
	HPA                            json.RawMessage `json:"hpa"`
	SyncPeriodSeconds              *float64        `json:"syncPeriodSeconds"`
	Tolerance                      *float64        `json:"tolerance"`
	CPUInitializationPeriodSeconds *float64        `json:"cpuInitializationPeriodSeconds"`
	InitialReadinessDelaySeconds   *float64        `json:"initialReadinessDelaySeconds"`
	DownscaleStabilizationSeconds  *float64        `json:"downscaleStabilizationSeconds"`
	MetricWindowSeconds            *float64        `json:"metricWindowSeconds"`
	FeatureGates                   map[string]bool `json:"featureGates"`
	Steps                          []step          `json:"steps"`
}

type step struct {
	T               *json.Number                  `json:"t"`
	CurrentReplicas *int32                        `json:"currentReplicas"`
	StatusReplicas  *int32                        `json:"statusReplicas"`
	Pods            *[]pod                        `json:"pods"`
	External        map[string]json.RawMessage    `json:"external"`
	Object          map[string]*resource.Quantity `json:"object"`
	HPA             *json.RawMessage              `json:"hpa"`
}

type pod struct {
	Name                string                        `json:"name"`
	Phase               *v1.PodPhase                  `json:"phase"`
	Ready               *bool                         `json:"ready"`
	StartTime           *float64                      `json:"startTime"`
	ReadyTime           *float64                      `json:"readyTime"`
	CPURequestMilli     *int64                        `json:"cpuRequestMilli"`
	CPUUsageMilli       *int64                        `json:"cpuUsageMilli"`
	MemoryRequestBytes  *int64                        `json:"memoryRequestBytes"`
	MemoryUsageBytes    *int64                        `json:"memoryUsageBytes"`
	Metrics             map[string]*resource.Quantity `json:"metrics"`
	MetricTime          *float64                      `json:"metricTime"`
	MetricWindowSeconds *float64                      `json:"metricWindowSeconds"`
	Deleted             bool                          `json:"deleted"`
}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func moment(t float64) time.Time {
	return begin.Add(time.Duration(t * float64(time.Second)))
}

func whole(t float64) metav1.Time {
	return metav1.NewTime(moment(t).Truncate(time.Second))
}

// plant is what there is at a sync: it stands for the API server and for the metrics APIs.
type plant struct {
	hpa                          *autoscalingv2.HorizontalPodAutoscaler
	specReplicas, statusReplicas int32
	window                       time.Duration
	now                          time.Time
	pods                         []pod
	external                     map[string]json.RawMessage
	object                       map[string]*resource.Quantity
}

func (p *plant) take(step step, now time.Time) {
	p.now = now
	if step.CurrentReplicas != nil {
		p.specReplicas = *step.CurrentReplicas
	}
	p.statusReplicas = p.specReplicas
	if step.StatusReplicas != nil {
		p.statusReplicas = *step.StatusReplicas
	}
	if step.Pods != nil {
		p.pods = *step.Pods
	}
	if step.External != nil {
		p.external = step.External
	}
	if step.Object != nil {
		p.object = step.Object
	}
}

func (p *plant) world() podautoscaler.World {
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{apps})
	mapper.Add(apps.WithKind("Deployment"), apimeta.RESTScopeNamespace)
	return podautoscaler.World{
		Scales:  scales{plant: p},
		HPAs:    hpas{plant: p},
		HPAList: hpaList{plant: p},
		PodList: podList{plant: p},
		Mapper:  mapper,
		Metrics: metricsclient.NewRESTMetricsClient(usage{plant: p}, custom{plant: p}, external{plant: p}),
	}
}

func (p *plant) pod(of pod) *v1.Pod {
	result := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: of.Name, Namespace: namespace, Labels: map[string]string{"app": name}}}
	result.Status.Phase = v1.PodRunning
	if of.Phase != nil {
		result.Status.Phase = *of.Phase
	}
	if of.Deleted {
		deleted := metav1.NewTime(p.now)
		result.DeletionTimestamp = &deleted
	}
	if of.StartTime != nil {
		started := whole(*of.StartTime)
		result.Status.StartTime = &started
	}
	if of.Ready != nil {
		ready := v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionFalse}
		if *of.Ready {
			ready.Status = v1.ConditionTrue
		}
		switch {
		case of.ReadyTime != nil:
			ready.LastTransitionTime = whole(*of.ReadyTime)
		case of.StartTime != nil:
			ready.LastTransitionTime = whole(*of.StartTime)
		}
		result.Status.Conditions = []v1.PodCondition{ready}
	}
	container := v1.Container{Name: "app", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{}}}
	if of.CPURequestMilli != nil {
		container.Resources.Requests[v1.ResourceCPU] = *resource.NewMilliQuantity(*of.CPURequestMilli, resource.DecimalSI)
	}
	if of.MemoryRequestBytes != nil {
		container.Resources.Requests[v1.ResourceMemory] = *resource.NewQuantity(*of.MemoryRequestBytes, resource.BinarySI)
	}
	result.Spec.Containers = []v1.Container{container}
	return result
}

type scales struct {
	scaleclient.ScaleInterface
	plant *plant
}

func (s scales) Scales(string) scaleclient.ScaleInterface { return s }

func (s scales) Get(context.Context, schema.GroupResource, string, metav1.GetOptions) (*autoscalingv1.Scale, error) {
	return &autoscalingv1.Scale{
		Spec:   autoscalingv1.ScaleSpec{Replicas: s.plant.specReplicas},
		Status: autoscalingv1.ScaleStatus{Replicas: s.plant.statusReplicas, Selector: "app=" + name},
	}, nil
}

func (s scales) Update(_ context.Context, _ schema.GroupResource, scale *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	s.plant.specReplicas = scale.Spec.Replicas
	return scale, nil
}

type hpas struct {
	autoscalingclient.HorizontalPodAutoscalerInterface
	plant *plant
}

func (h hpas) HorizontalPodAutoscalers(string) autoscalingclient.HorizontalPodAutoscalerInterface {
	return h
}

func (h hpas) UpdateStatus(_ context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, _ metav1.UpdateOptions) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	h.plant.hpa.Status = *hpa.Status.DeepCopy()
	return hpa, nil
}

type hpaList struct {
	autoscalinglisters.HorizontalPodAutoscalerLister
	autoscalinglisters.HorizontalPodAutoscalerNamespaceListerExpansion
	plant *plant
}

func (l hpaList) HorizontalPodAutoscalers(string) autoscalinglisters.HorizontalPodAutoscalerNamespaceLister {
	return hpaGet{plant: l.plant}
}

type hpaGet struct {
	autoscalinglisters.HorizontalPodAutoscalerNamespaceLister
	plant *plant
}

func (g hpaGet) Get(string) (*autoscalingv2.HorizontalPodAutoscaler, error) { return g.plant.hpa, nil }

type podList struct {
	corelisters.PodLister
	plant *plant
}

func (l podList) Pods(string) corelisters.PodNamespaceLister { return podsOf{plant: l.plant} }

type podsOf struct {
	corelisters.PodNamespaceLister
	plant *plant
}

// List keeps the order of the scenario, in which the first pod without a request is named.
func (p podsOf) List(labels.Selector) (pods []*v1.Pod, err error) {
	for _, pod := range p.plant.pods {
		pods = append(pods, p.plant.pod(pod))
	}
	return pods, nil
}

type usage struct {
	resourceclient.PodMetricsInterface
	plant *plant
}

func (u usage) PodMetricses(string) resourceclient.PodMetricsInterface { return u }

func (u usage) List(context.Context, metav1.ListOptions) (*metricsapi.PodMetricsList, error) {
	list := &metricsapi.PodMetricsList{}
	for _, pod := range u.plant.pods {
		if pod.CPUUsageMilli == nil && pod.MemoryUsageBytes == nil {
			continue
		}
		used := v1.ResourceList{}
		if pod.CPUUsageMilli != nil {
			used[v1.ResourceCPU] = *resource.NewMilliQuantity(*pod.CPUUsageMilli, resource.DecimalSI)
		}
		if pod.MemoryUsageBytes != nil {
			used[v1.ResourceMemory] = *resource.NewQuantity(*pod.MemoryUsageBytes, resource.BinarySI)
		}
		item := metricsapi.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: namespace},
			Timestamp:  metav1.NewTime(u.plant.now.Truncate(time.Second)),
			Window:     metav1.Duration{Duration: u.plant.window},
			Containers: []metricsapi.ContainerMetrics{{Name: "app", Usage: used}},
		}
		if pod.MetricTime != nil {
			item.Timestamp = whole(*pod.MetricTime)
		}
		if pod.MetricWindowSeconds != nil {
			item.Window.Duration = time.Duration(*pod.MetricWindowSeconds * float64(time.Second))
		}
		list.Items = append(list.Items, item)
	}
	return list, nil
}

type custom struct {
	customclient.MetricsInterface
	plant *plant
}

func (c custom) RootScopedMetrics() customclient.MetricsInterface { return c }

func (c custom) NamespacedMetrics(string) customclient.MetricsInterface { return c }

func (c custom) GetForObjects(_ schema.GroupKind, _ labels.Selector, metric string, _ labels.Selector) (*customapi.MetricValueList, error) {
	list := &customapi.MetricValueList{}
	for _, pod := range c.plant.pods {
		if value := pod.Metrics[metric]; value != nil {
			item := customapi.MetricValue{DescribedObject: v1.ObjectReference{Kind: "Pod", Name: pod.Name}, Value: *value}
			list.Items = append(list.Items, item)
		}
	}
	return list, nil
}

func (c custom) GetForObject(_ schema.GroupKind, _ string, metric string, _ labels.Selector) (*customapi.MetricValue, error) {
	if value := c.plant.object[metric]; value != nil {
		return &customapi.MetricValue{Value: *value}, nil
	}
	return nil, errNotFound
}

type external struct {
	externalclient.MetricsInterface
	plant *plant
}

func (e external) NamespacedMetrics(string) externalclient.MetricsInterface { return e }

func (e external) List(metric string, _ labels.Selector) (*externalapi.ExternalMetricValueList, error) {
	raw := e.plant.external[metric]
	if raw == nil || string(raw) == "null" {
		return nil, errNotFound
	}
	var values []resource.Quantity
	if raw[0] != '[' {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	must(json.Unmarshal(raw, &values))
	list := &externalapi.ExternalMetricValueList{}
	for _, value := range values {
		list.Items = append(list.Items, externalapi.ExternalMetricValue{MetricName: metric, Value: value})
	}
	return list, nil
}

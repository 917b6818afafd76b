// The oracle plays scenarios of `burstlet hpa` on upstream's own controller and API server's checks: one scenario a line in,
// one report a line out. It knows steps, not closed loops.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"

	"burstlet.dev/controlplane/hpaoracle/podautoscaler"
)

type report struct {
	T               json.Number `json:"t"`
	CurrentReplicas int32       `json:"currentReplicas"`
	DesiredReplicas int32       `json:"desiredReplicas"`
	Error           string      `json:"error,omitempty"`
	Conditions      []condition `json:"conditions"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			answer, err := json.Marshal(played(line))
			must(err)
			out.Write(answer)
			out.WriteByte('\n')
			must(out.Flush())
		}
		if err != nil {
			return
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func played(line []byte) any {
	if q, ok := quantity(line); ok {
		return q
	}
	var s scenario
	if err := strict(line, &s); err != nil {
		return map[string]string{"malformed": err.Error()}
	}
	gates := map[string]bool{"HPAScaleToZero": false, "HPAConfigurableTolerance": true}
	for name, on := range s.FeatureGates {
		gates[name] = on
	}
	must(utilfeature.DefaultMutableFeatureGate.SetFromMap(gates))
	hpa, err := created(s.HPA)
	if err != nil {
		return map[string]string{"invalid": err.Error()}
	}
	// As burstlet does, every spec is checked before the first sync.
	replaced := hpa
	specs := make([]*autoscalingv2.HorizontalPodAutoscaler, len(s.Steps))
	for i, step := range s.Steps {
		if step.HPA == nil {
			continue
		}
		if replaced, err = updated(*step.HPA, replaced); err != nil {
			return map[string]string{"invalid": err.Error()}
		}
		specs[i] = replaced
	}
	plant := &plant{hpa: hpa}
	seconds := func(value *float64, fallback float64) time.Duration {
		if value != nil {
			fallback = *value
		}
		return time.Duration(fallback * float64(time.Second))
	}
	flags := podautoscaler.Flags{
		Tolerance:         0.1,
		Downscale:         seconds(s.DownscaleStabilizationSeconds, 300),
		CPUInitialization: seconds(s.CPUInitializationPeriodSeconds, 300),
		InitialReadiness:  seconds(s.InitialReadinessDelaySeconds, 30),
	}
	if s.Tolerance != nil {
		flags.Tolerance = *s.Tolerance
	}
	plant.window = seconds(s.MetricWindowSeconds, 30)
	controller := podautoscaler.Open(plant.world(), flags)
	reports := []report{}
	for i, step := range s.Steps {
		if specs[i] != nil {
			specs[i].Status = plant.hpa.Status
			plant.hpa = specs[i]
		}
		t := json.Number(fmt.Sprint(float64(i) * seconds(s.SyncPeriodSeconds, 15).Seconds()))
		if step.T != nil {
			t = *step.T
		}
		reports = append(reports, plant.sync(controller, step, t))
	}
	return map[string][]report{"steps": reports}
}

// quantity answers what a quantity is worth, for a line {"quantity": "…"}.
func quantity(line []byte) (any, bool) {
	var asked struct {
		Quantity *string `json:"quantity"`
	}
	if json.Unmarshal(line, &asked) != nil || asked.Quantity == nil {
		return nil, false
	}
	q, err := resource.ParseQuantity(*asked.Quantity)
	if err != nil {
		return map[string]any{"refused": true}, true
	}
	// Rewritten and read again, so that the text is the canonical one, not the one that was given.
	canonical := q.DeepCopy()
	canonical.Add(resource.Quantity{})
	return map[string]any{"milli": q.MilliValue(), "bits": fmt.Sprint(math.Float64bits(q.AsApproximateFloat64())), "text": canonical.String()}, true
}

func (p *plant) sync(controller *podautoscaler.HorizontalController, step step, t json.Number) report {
	at, err := t.Float64()
	must(err)
	p.take(step, moment(at))
	before := p.specReplicas
	err = controller.Sync(context.Background(), namespace+"/"+name, moment(at))
	report := report{T: t, CurrentReplicas: before, DesiredReplicas: p.specReplicas, Conditions: []condition{}}
	if err != nil {
		report.Error = err.Error()
	}
	for _, c := range p.hpa.Status.Conditions {
		report.Conditions = append(report.Conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message})
	}
	return report
}

// created is the HPA as the API server stores it.
func created(raw json.RawMessage) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	hpa := decoded(raw)
	ctx := request()
	horizontalpodautoscaler.Strategy.PrepareForCreate(ctx, hpa)
	if errs := horizontalpodautoscaler.Strategy.Validate(ctx, hpa); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return stored(hpa), nil
}

// updated is the HPA as the API server stores it in place of another.
func updated(raw json.RawMessage, old *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	hpa, before := decoded(raw), &autoscaling.HorizontalPodAutoscaler{}
	must(legacyscheme.Scheme.Convert(old, before, nil))
	ctx := request()
	horizontalpodautoscaler.Strategy.PrepareForUpdate(ctx, hpa, before)
	if errs := horizontalpodautoscaler.Strategy.ValidateUpdate(ctx, hpa, before); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return stored(hpa), nil
}

// request is the context of a request to the API server.
func request() context.Context {
	ctx := genericapirequest.WithNamespace(context.Background(), namespace)
	info := &genericapirequest.RequestInfo{APIGroup: "autoscaling", APIVersion: "v2", Resource: "horizontalpodautoscalers"}
	return genericapirequest.WithRequestInfo(ctx, info)
}

func decoded(raw json.RawMessage) *autoscaling.HorizontalPodAutoscaler {
	var document struct {
		Spec *autoscalingv2.HorizontalPodAutoscalerSpec `json:"spec"`
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if json.Unmarshal(raw, &document) == nil && document.Spec != nil {
		hpa.Spec = *document.Spec
	} else {
		must(strict(raw, &hpa.Spec))
	}
	hpa.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: namespace, ResourceVersion: "1", UID: "1"}
	hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}
	legacyscheme.Scheme.Default(hpa)
	internal := &autoscaling.HorizontalPodAutoscaler{}
	must(legacyscheme.Scheme.Convert(hpa, internal, nil))
	return internal
}

func stored(internal *autoscaling.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	must(legacyscheme.Scheme.Convert(internal, hpa, nil))
	return hpa
}

func strict(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

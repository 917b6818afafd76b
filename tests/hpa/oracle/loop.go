package main

import "fmt"

// closedLoop is a demand for CPU, and pods that follow what the HPA writes.
type closedLoop struct {
	InitialReplicas      int32    `json:"initialReplicas"`
	InitialAgeSeconds    *float64 `json:"initialAgeSeconds"`
	ReadyDelaySeconds    float64  `json:"readyDelaySeconds"`
	DemandMilli          []int64  `json:"demandMilli"`
	CPURequestMilli      *int64   `json:"cpuRequestMilli"`
	MaxCPUMilliPerPod    int64    `json:"maxCpuMilliPerPod"`
	UnreadyMetricMissing bool     `json:"unreadyMetricMissing"`

	// When each pod was created, the oldest first.
	created []float64
	serials []int
	serial  int
}

func (l *closedLoop) begin(t float64) {
	age := 600.0
	if l.InitialAgeSeconds != nil {
		age = *l.InitialAgeSeconds
	}
	l.grow(int(l.InitialReplicas), t-age)
}

func (l *closedLoop) grow(to int, t float64) {
	for len(l.created) < to {
		l.created = append(l.created, t)
		l.serials = append(l.serials, l.serial)
		l.serial++
	}
}

func (l *closedLoop) isReady(i int, t float64) bool {
	return t >= l.created[i]+l.ReadyDelaySeconds
}

func (l *closedLoop) follow(replicas int32, t float64) {
	for len(l.created) > int(replicas) {
		last := len(l.created) - 1
		for i := last; i >= 0; i-- {
			if !l.isReady(i, t) {
				last = i
				break
			}
		}
		l.created = append(l.created[:last], l.created[last+1:]...)
		l.serials = append(l.serials[:last], l.serials[last+1:]...)
	}
	l.grow(int(replicas), t)
}

func (l *closedLoop) pods(index int, t float64) []pod {
	demand, ready := int64(0), int64(0)
	if count := len(l.DemandMilli); count > 0 {
		demand = l.DemandMilli[min(index, count-1)]
	}
	for i := range l.created {
		if l.isReady(i, t) {
			ready++
		}
	}
	pods, nth := []pod{}, int64(0)
	for i, created := range l.created {
		isReady, usage, since := l.isReady(i, t), int64(0), created
		if isReady {
			since += l.ReadyDelaySeconds
			usage = demand / ready
			if nth < demand%ready {
				usage++
			}
			nth++
			if l.MaxCPUMilliPerPod > 0 {
				usage = min(usage, l.MaxCPUMilliPerPod)
			}
		}
		made := pod{
			Name: fmt.Sprintf("app-%d", l.serials[i]), Ready: &isReady, StartTime: &created, ReadyTime: &since,
			CPURequestMilli: l.CPURequestMilli, CPUUsageMilli: &usage,
		}
		if !isReady && l.UnreadyMetricMissing {
			made.CPUUsageMilli = nil
		}
		pods = append(pods, made)
	}
	return pods
}

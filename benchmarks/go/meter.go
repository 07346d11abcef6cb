package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// meter is wall clock and CPU of this process between two moments.
type meter struct {
	began   time.Time
	cpu     time.Duration
	seconds time.Duration
}

func begin() *meter {
	m := &meter{cpu: cpuTime()}
	m.began = time.Now()
	return m
}

func (m *meter) end() *meter {
	m.seconds = time.Since(m.began)
	m.cpu = cpuTime() - m.cpu
	return m
}

// answer of a round between begin and end; latencies may be nil and are sorted.
func (m *meter) answer(count, failed int, latencies []time.Duration) (answer, error) {
	resident, err := residentBytes()
	made := answer{count, failed, m.seconds.Seconds(), m.cpu.Seconds(), resident, nil}
	if len(latencies) > 0 {
		made.LatencyUs = percentiles(latencies)
	}
	return made, err
}

// percentilesUs are in microseconds: the value at or below which that part of all values lies.
type percentilesUs struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func percentiles(values []time.Duration) *percentilesUs {
	slices.Sort(values)
	at := func(part float64) float64 {
		rank := max(int(math.Ceil(part*float64(len(values)))), 1)
		return float64(values[rank-1].Nanoseconds()) / 1e3
	}
	return &percentilesUs{at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // only a wrong argument makes it fail
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func residentBytes() (int64, error) {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if kilobytes, found := strings.CutPrefix(lines.Text(), "VmRSS:"); found {
			number, err := strconv.ParseInt(strings.Fields(kilobytes)[0], 10, 64)
			return number * 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS in %s", status.Name())
}

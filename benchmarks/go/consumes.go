package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const idle = 3 * time.Second

// push measures from the first message that the listener gets to the last.
func push(c *clients, asked request, ordered bool) (answer, error) {
	got := receiptsFor(asked)
	consumer, err := c.consumer(asked.Group, asked.Topic, ordered, func(message *primitive.MessageExt) { got.accept(message.Body) })
	if err != nil {
		return answer{}, err
	}
	if err := consumer.Start(); err != nil {
		return answer{}, err
	}
	defer stop(consumer)
	return got.await()
}

// firstMessage measures from the call of Start to the first message in the listener.
func firstMessage(c *clients, asked request) (answer, error) {
	var m *meter
	var once sync.Once
	first := make(chan struct{})
	consumer, err := c.consumer(asked.Group, asked.Topic, asked.Ordered, func(*primitive.MessageExt) {
		once.Do(func() {
			m.end()
			close(first)
		})
	})
	if err != nil {
		return answer{}, err
	}
	m = begin()
	if err := consumer.Start(); err != nil {
		return answer{}, err
	}
	defer stop(consumer)
	select {
	case <-first:
		return m.answer(1, 0, nil)
	case <-time.After(patience):
		return answer{}, fmt.Errorf("no message within %v", patience)
	}
}

// idleMemory is that of a started producer and a started consumer with nothing to do.
func idleMemory(c *clients, asked request) (answer, error) {
	if _, err := c.producer(); err != nil {
		return answer{}, err
	}
	consumer, err := c.consumer(asked.Group, asked.Topic, asked.Ordered, func(*primitive.MessageExt) {})
	if err != nil {
		return answer{}, err
	}
	if err := consumer.Start(); err != nil {
		return answer{}, err
	}
	defer stop(consumer)
	m := begin()
	time.Sleep(idle)
	return m.end().answer(0, 0, nil)
}

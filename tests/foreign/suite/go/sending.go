package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func plain() error {
	err := send("plain", 20, func(_ int, next *primitive.Message) {
		next.WithTag("TagA").WithKeys([]string{"key-" + string(next.Body)})
		next.WithProperty("größe", "☃ "+string(next.Body))
	})
	if err != nil {
		return err
	}
	box, err := consume("plain")
	if err != nil {
		return err
	}
	messages, err := box.expect(numbered(20)...)
	for _, each := range messages {
		body := string(each.Body)
		if each.GetTags() != "TagA" || strings.TrimSpace(each.GetKeys()) != "key-"+body || each.GetProperty("größe") != "☃ "+body {
			return fmt.Errorf("tag, key or property of %v", each)
		}
	}
	return err
}

func async() error {
	made, err := newProducer("async")
	if err != nil {
		return err
	}
	outcomes := make(chan error, 50)
	for _, body := range numbered(50) {
		err := made.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			outcomes <- stored(result, err)
		}, message("async", body))
		if err != nil {
			return err
		}
	}
	for range numbered(50) {
		if err := <-outcomes; err != nil {
			return err
		}
	}
	return consumed("async", 50)
}

func consumed(scenario string, count int) error {
	box, err := consume(scenario)
	if err != nil {
		return err
	}
	_, err = box.expect(numbered(count)...)
	return err
}

func oneway() error {
	made, err := newProducer("oneway")
	if err != nil {
		return err
	}
	for _, body := range numbered(20) {
		if err := made.SendOneWay(context.Background(), message("oneway", body)); err != nil {
			return err
		}
	}
	return consumed("oneway", 20)
}

func batch() error {
	made, err := newProducer("batch")
	if err != nil {
		return err
	}
	messages := []*primitive.Message{}
	for _, body := range numbered(10) {
		messages = append(messages, message("batch", body))
	}
	if err := stored(made.SendSync(context.Background(), messages...)); err != nil {
		return err
	}
	return consumed("batch", 10)
}

func large() error {
	body := bytes.Repeat([]byte("a body that is compressed "), 40_000)
	made, err := newProducer("large")
	if err != nil {
		return err
	}
	if err := stored(made.SendSync(context.Background(), primitive.NewMessage(topic("large"), body))); err != nil {
		return err
	}
	box, err := consume("large")
	if err != nil {
		return err
	}
	_, err = box.expect(string(body))
	return err
}

func delayLevel() error {
	box, err := consume("delay_level")
	if err != nil {
		return err
	}
	sent := time.Now().UnixMilli()
	if err := send("delay_level", 1, func(_ int, next *primitive.Message) { next.WithDelayTimeLevel(1) }); err != nil {
		return err
	}
	messages, err := box.expect("m0")
	if err == nil && messages[0].StoreTimestamp-sent < 990 {
		err = fmt.Errorf("it came after %d ms", messages[0].StoreTimestamp-sent)
	}
	return err
}

// Decides by the body, when it is asked.
type decisions struct {
	lock  sync.Mutex
	asked map[string]bool
}

func (*decisions) ExecuteLocalTransaction(half *primitive.Message) primitive.LocalTransactionState {
	switch string(half.Body) {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (made *decisions) CheckLocalTransaction(half *primitive.MessageExt) primitive.LocalTransactionState {
	made.lock.Lock()
	defer made.lock.Unlock()
	made.asked[string(half.Body)] = true
	if strings.HasSuffix(string(half.Body), "commit") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func transaction() error {
	listener := &decisions{asked: map[string]bool{}}
	made, err := rocketmq.NewTransactionProducer(listener,
		producer.WithGroupName(group("transaction")+"_p"),
		producer.WithInstanceName("transactions"+suffix),
		producer.WithNameServer([]string{nameServers}),
	)
	if err != nil {
		return err
	}
	if err := made.Start(); err != nil {
		return err
	}
	for _, body := range []string{"commit", "rollback", "asked, rollback", "asked, commit"} {
		if _, err := made.SendMessageInTransaction(context.Background(), message("transaction", body)); err != nil {
			return err
		}
	}
	box, err := consume("transaction")
	if err != nil {
		return err
	}
	if _, err := box.expect("commit", "asked, commit"); err != nil {
		return err
	}
	listener.lock.Lock()
	defer listener.lock.Unlock()
	if listener.asked["commit"] || listener.asked["rollback"] {
		err = fmt.Errorf("asked for decided ones: %v", listener.asked)
	}
	return err
}

func requestReply() error {
	replies, err := newProducer("request_reply_answers")
	if err != nil {
		return err
	}
	err = begin("request_reply", "request_reply", consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, each := range messages {
				body := []byte("re: " + string(each.Body))
				answer, err := consumer.CreateReplyMessage(each, body)
				if err != nil {
					return consumer.ConsumeRetryLater, err
				}
				answer.Body = body // it is left out there, and brokers refuse messages without a body
				if _, err := replies.SendSync(context.Background(), answer); err != nil {
					return consumer.ConsumeRetryLater, err
				}
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	made, err := newProducer("request_reply")
	if err != nil {
		return err
	}
	// A request is answered only when a heartbeat has told the broker who asks; this client does not see to that.
	for end := time.Now().Add(patience); ; {
		reply, err := made.Request(context.Background(), 2*time.Second, message("request_reply", "question"))
		if err == nil && string(reply.Body) != "re: question" {
			err = fmt.Errorf("reply %v", reply)
		}
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// What a listener refuses once comes again.
func push() error {
	box := &inbox{}
	err := begin("push", "push", consumer.MessageSelector{},
		func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			if string(messages[0].Body) == "m3" && messages[0].ReconsumeTimes == 0 {
				if concurrent, ok := primitive.GetConcurrentlyCtx(ctx); ok {
					concurrent.DelayLevelWhenNextConsume = 1
				}
				return consumer.ConsumeRetryLater, nil
			}
			box.take(messages...)
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := send("push", 10, nil); err != nil {
		return err
	}
	messages, err := box.expect(numbered(10)...)
	for _, each := range messages {
		if (string(each.Body) == "m3") != (each.ReconsumeTimes == 1) {
			return fmt.Errorf("tries of %v", each)
		}
	}
	return err
}

func ordered() error {
	err := send("ordered", 60, func(number int, next *primitive.Message) { next.WithShardingKey("key-" + strconv.Itoa(number%6)) })
	if err != nil {
		return err
	}
	box := &inbox{}
	var refused sync.Map
	err = begin("ordered", "ordered", consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			if _, seen := refused.LoadOrStore(messages[0].Queue.QueueId, true); !seen {
				return consumer.SuspendCurrentQueueAMoment, nil
			}
			box.take(messages...)
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(50*time.Millisecond))
	if err != nil {
		return err
	}
	messages, err := box.expect(numbered(60)...)
	last := map[int]int{}
	for _, each := range messages {
		number, _ := strconv.Atoi(string(each.Body)[1:])
		if before, seen := last[number%6]; seen && before > number {
			return fmt.Errorf("out of order: %d after %d", number, before)
		}
		last[number%6] = number
	}
	return err
}

func broadcast() error {
	boxes := []*inbox{{}, {}}
	for number, box := range boxes {
		name := "broadcast-" + strconv.Itoa(number)
		err := begin("broadcast", name, consumer.MessageSelector{}, box.listen, consumer.WithConsumerModel(consumer.BroadCasting))
		if err != nil {
			return err
		}
	}
	if err := send("broadcast", 10, nil); err != nil {
		return err
	}
	for _, box := range boxes {
		if _, err := box.expect(numbered(10)...); err != nil {
			return err
		}
	}
	return nil
}

func tags() error {
	box := &inbox{}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "Tag1 || Tag3"}
	if err := begin("tags", "tags", selector, box.listen); err != nil {
		return err
	}
	if err := send("tags", 5, func(number int, next *primitive.Message) { next.WithTag("Tag" + strconv.Itoa(number)) }); err != nil {
		return err
	}
	_, err := box.expect("m1", "m3")
	return err
}

func sql92() error {
	box := &inbox{}
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "price BETWEEN 2 AND 3"}
	if err := begin("sql92", "sql92", selector, box.listen); err != nil {
		return err
	}
	if err := send("sql92", 5, func(number int, next *primitive.Message) { next.WithProperty("price", strconv.Itoa(number)) }); err != nil {
		return err
	}
	_, err := box.expect("m2", "m3")
	return err
}

func pull() error {
	if err := send("pull", 20, nil); err != nil {
		return err
	}
	made, err := rocketmq.NewPullConsumer(
		consumer.WithGroupName(group("pull")),
		consumer.WithInstance("puller"+suffix),
		consumer.WithNameServer([]string{nameServers}),
		first,
	)
	if err != nil {
		return err
	}
	if err := made.Subscribe(topic("pull"), consumer.MessageSelector{}); err != nil {
		return err
	}
	if err := made.Start(); err != nil {
		return err
	}
	box := &inbox{}
	for end := time.Now().Add(patience); len(box.messages) < 20 && time.Now().Before(end); {
		request, err := made.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return err
		}
		box.take(request.GetMsgList()...)
		made.ACK(context.Background(), request, consumer.ConsumeSuccess)
	}
	_, err = box.expect(numbered(20)...)
	return err
}

// The user may use what begins with "allowed".
func acl() error {
	keys := primitive.Credentials{AccessKey: "user-of-tests", SecretKey: "secret-of-the-user"}
	name := "allowed_" + topic("acl")
	where := producer.WithNameServer([]string{guarded})
	made, err := newProducer("acl", where, producer.WithGroupName("allowed_p"+suffix), producer.WithCredentials(keys))
	if err != nil {
		return err
	}
	for _, body := range numbered(10) {
		if err := stored(made.SendSync(context.Background(), primitive.NewMessage(name, []byte(body)))); err != nil {
			return err
		}
	}
	box := &inbox{}
	reader, err := rocketmq.NewPushConsumer(
		consumer.WithGroupName("allowed_"+group("acl")),
		consumer.WithInstance("guarded"+suffix),
		consumer.WithNameServer([]string{guarded}),
		consumer.WithCredentials(keys),
		first,
	)
	if err != nil {
		return err
	}
	if err := reader.Subscribe(name, consumer.MessageSelector{}, box.listen); err != nil {
		return err
	}
	if err := reader.Start(); err != nil {
		return err
	}
	if _, err := box.expect(numbered(10)...); err != nil {
		return err
	}
	wrong := primitive.Credentials{AccessKey: "user-of-tests", SecretKey: "wrong-secret"}
	other, err := newProducer("acl_wrong", where, producer.WithGroupName("allowed_w"+suffix), producer.WithCredentials(wrong))
	if err != nil {
		return err
	}
	if result, err := other.SendSync(context.Background(), primitive.NewMessage(name, []byte("x"))); err == nil {
		return fmt.Errorf("a wrong secret was taken: %v", result)
	}
	return nil
}

"""Asks brokers at the start whether they can evaluate the filters (Java: `MQClientInstance.checkClientInBroker`). Feature F20.

Without it a consumer whose filter no broker can evaluate runs, and receives nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiorocketmq.errors import BrokerError, RocketMQError, SubscriptionError, UnsupportedRequestError
from aiorocketmq.model.filters import SubscriptionData

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance

logger = logging.getLogger("aiorocketmq.consumer")


async def check_filters(instance: ClientInstance, group: str, subscriptions: Iterable[SubscriptionData]) -> None:
    """Ask one broker of each topic with a filter other than tags; topics without a route, and brokers that do not answer, are passed over.

    Args:
        instance: Finds and asks brokers.
        group: The consumer group.
        subscriptions: The filters.

    Raises:
        SubscriptionError: A broker cannot evaluate a filter; the text has its words.
    """
    for subscription in subscriptions:
        address = instance.find_broker_addr_by_topic(subscription.topic)
        if subscription.expression_type == "TAG" or address is None:
            continue
        try:
            await instance.broker_api.check_client_config(address, instance.client_id, group, subscription)
        except (SubscriptionError, UnsupportedRequestError) as error:
            if isinstance(error, SubscriptionError):
                raise
            logger.debug("broker %s cannot check filters: %s", address, error)
        except BrokerError as error:
            raise SubscriptionError(
                f"the filter of topic {subscription.topic!r} is refused: {error.remark}",
                code=error.code,
                broker=address,
                topic=subscription.topic,
                hint="brokers evaluate SQL filters with enablePropertyFilter=true only",
                cause=error,
            ) from None
        except RocketMQError as error:
            logger.warning("the filter of topic %s cannot be checked now: %s", subscription.topic, error)

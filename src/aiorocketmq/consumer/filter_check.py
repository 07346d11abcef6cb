"""Asks brokers at the start whether they can evaluate the filters (Java: `MQClientInstance.checkClientInBroker`). Feature F20.

Without it a consumer whose filter no broker can evaluate runs, and receives nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from aiorocketmq.errors import (
    AccessError,
    BrokerError,
    ConfigError,
    NotSupportedByBrokerError,
    RocketMQError,
    SubscriptionError,
    UnsupportedRequestError,
)
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.codes import version_name

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance

logger = logging.getLogger("aiorocketmq.consumer")

FIRST_WITH_TEXT_WORDS: Final = 439
"""V5_1_3: the first version of brokers that know CONTAINS, STARTSWITH and ENDSWITH."""


async def check_filters(instance: ClientInstance, group: str, subscriptions: Iterable[SubscriptionData]) -> None:
    """Ask one broker of each topic with a filter other than tags; topics without a route, and brokers that do not answer, are passed over.

    Args:
        instance: Finds and asks brokers.
        group: The consumer group.
        subscriptions: The filters.

    Raises:
        SubscriptionError: A broker cannot evaluate a filter; the text has its words.
        NotSupportedByBrokerError: A broker is too old for a word of a filter.
        AccessError: A broker does not accept who asks, or does not let it consume.
    """
    for subscription in subscriptions:
        address = instance.find_broker_addr_by_topic(subscription.topic)
        if subscription.is_tag or address is None:
            continue
        try:
            version = await instance.broker_api.check_client_config(address, instance.client_id, group, subscription)
            _check_words(subscription, address, version)
        except UnsupportedRequestError as error:
            logger.debug("broker %s cannot check filters: %s", address, error)
        except AccessError:
            raise
        except BrokerError as error:
            raise _refused(subscription, address, error) from None
        except NotSupportedByBrokerError:
            raise
        except RocketMQError as error:
            logger.warning("the filter of topic %s cannot be checked now: %s", subscription.topic, error)


def _refused(subscription: SubscriptionData, address: str, error: BrokerError) -> SubscriptionError:
    from aiorocketmq.model.sql92 import parse  # few programs need it

    hint = "brokers evaluate SQL filters with enablePropertyFilter=true only"
    if isinstance(error, SubscriptionError):
        try:
            parse(subscription.expression)
            hint = "the expression is right for newer brokers: ask which version this one has"
        except ConfigError as mistake:
            hint = mistake.message
    return SubscriptionError(
        f"the filter of topic {subscription.topic!r} is refused: {error.remark}",
        code=error.code,
        broker=address,
        topic=subscription.topic,
        hint=hint,
        cause=error,
    )


def _check_words(subscription: SubscriptionData, address: str, version: int) -> None:
    """Older brokers accept these words and take them for the end of the condition: no message would come, or too many.

    Raises:
        NotSupportedByBrokerError: The broker is older.
    """
    if version >= FIRST_WITH_TEXT_WORDS:
        return
    from aiorocketmq.model.sql92 import parse

    try:
        words = parse(subscription.expression).words
    except ConfigError:
        return
    if words:
        name = version_name(version)
        raise NotSupportedByBrokerError(
            f"broker {address} has version {name} and does not know {' and '.join(sorted(words))}, which the filter of topic"
            f" {subscription.topic!r} uses",
            feature="SQL filters with CONTAINS, STARTSWITH, ENDSWITH",
            broker=address,
            broker_version=name,
            hint="compare with = and IN, or use a broker of version 5.1.3 or newer",
        )

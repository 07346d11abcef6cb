"""What servers say about credentials and permissions, told apart by their texts: access control has no codes of its own."""

from __future__ import annotations

import pytest

from aiorocketmq import errors
from aiorocketmq.errors import broker_error, send_error_kind

TEXTS = [
    (16, "authentication field is null", errors.MissingCredentialsError),
    (16, "username cannot be null.", errors.MissingCredentialsError),
    (1, "org.apache.rocketmq.acl.common.AclException: No accessKey is configured", errors.MissingCredentialsError),
    (16, "User:app is not found.", errors.UnknownAccessKeyError),
    (16, "User:app not found.", errors.UnknownAccessKeyError),
    (1, "AclException: No acl config for app, org.apache...", errors.UnknownAccessKeyError),
    (16, "check signature failed.", errors.WrongSignatureError),
    (16, "Check signature failed for accessKey=app", errors.WrongSignatureError),
    (1, "[10015:signature-failed] unable to validate by signature", errors.WrongSignatureError),
    (16, "The security token has expired", errors.ExpiredTokenError),
    (1, "InvalidSecurityToken.Expired: SecurityToken is expired", errors.ExpiredTokenError),
    (16, "User:app is disabled.", errors.AuthenticationError),
    (16, "User:app has no permission to access Topic:a from 127.0.0.1, no matched policies.", errors.AccessDeniedError),
    (1, "AclException: No default permission for a", errors.AccessDeniedError),
    (16, "Need admin permission for request code=17, but accessKey=app is not", errors.AccessDeniedError),
    # No matter of access control.
    (16, "the broker[broker-a] sending message is forbidden", errors.NoPermissionError),
    (1, "the token of the lock is wrong", errors.BrokerError),
    (17, "check signature failed.", errors.TopicNotExistError),
]


@pytest.mark.feature("M9", "P8")
@pytest.mark.parametrize(("code", "text", "kind"), TEXTS)
def test_each_text_has_its_class(code: int, text: str, kind: type[errors.BrokerError]) -> None:
    error = broker_error(code, text, broker="broker-a", topic="a")
    assert type(error) is kind
    assert error.code == code
    access = issubclass(kind, errors.AccessError)
    assert isinstance(error, errors.AccessError) is access
    if access:
        assert error.hint
        assert not error.retriable
        assert isinstance(error, errors.NoPermissionError)
        assert send_error_kind(error, maybe_stored=False, timed_out=False) is errors.SendDeniedError
        assert send_error_kind(error, maybe_stored=True, timed_out=False) is errors.SendError

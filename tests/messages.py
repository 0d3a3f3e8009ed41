"""The one form of an error: which argument, what was expected, what came; one line."""

import pytest


def check_message(call, argument, expected, got):
    """`call` raises a ValueError of this form."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"`{argument}`: expected "), message
    before, _, after = message.removeprefix(f"`{argument}`: expected ").rpartition(", got ")
    assert expected in before, message
    assert got in after, message
    assert "Traced" not in message and "\n" not in message

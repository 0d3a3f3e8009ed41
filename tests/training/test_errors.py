"""A wrong argument is one error that names it, says what was expected and what came."""

import pytest

from tests.training.error_cases import CASES


@pytest.mark.parametrize(("call", "match"), CASES, ids=range(len(CASES)))
def test_one_clear_error(call, match):
    with pytest.raises((TypeError, ValueError, OSError), match=f"^{match}"):
        call()

import pytest

from analysis.validate import oracles

pytestmark = [pytest.mark.oracles, pytest.mark.slow]


@pytest.mark.parametrize("against", oracles(), ids=lambda function: function.__name__)
def test_we_agree_with_reference_implementations(against):
    try:
        comparisons = against()
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed: pip install '.[oracles]'")
    assert comparisons
    assert [c for c in comparisons if not c.agrees] == []

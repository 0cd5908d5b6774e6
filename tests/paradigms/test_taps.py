"""Where an activation is found, and that what intercepts it leaves nothing behind."""

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from paradigms.taps import Site, intercept


class Block(nn.Module):
    """Adds what it is given, weighted so that the result tells which argument was changed."""

    def forward(self, trunk: Tensor, skips: tuple[Tensor, ...], scale: float = 1.0) -> Tensor:
        return trunk + 10 * skips[0] + 100 * skips[1] + 0 * scale

    def decode(self, trunk: Tensor) -> Tensor:
        return 3 * trunk


ONE = torch.ones(1)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("argument", "index", "expected"), [("trunk", None, 112), ("skips", 0, 121), ("skips", 1, 211), (0, None, 112)]
)
def test_an_argument_is_found_by_its_name_or_its_place(argument, index, expected, by_name):
    block = Block()
    if by_name and not isinstance(argument, int):
        arguments, named = (), {"skips": (ONE, ONE), "trunk": ONE}
    else:
        arguments, named = (ONE, (ONE, ONE)), {}
    end = intercept(Site(block, argument, index), lambda activation: activation + 1)
    assert block(*arguments, **named) == expected
    end()
    assert block(*arguments, **named) == 111


def test_an_output_is_replaced():
    block = Block()
    end = intercept(Site(block), torch.zeros_like)
    assert block(ONE, (ONE, ONE)) == 0
    end()
    assert block(ONE, (ONE, ONE)) == 111


def test_several_at_one_method_are_all_called_and_leave_the_method_of_the_class():
    block = Block()
    with ExitStack() as stack:
        for _ in range(2):
            stack.callback(intercept(Site(block, "trunk", method="decode"), lambda activation: activation + 1))
        assert block.decode(ONE) == 9
        assert block.decode(trunk=ONE) == 9
    assert "decode" not in vars(block)
    assert block.decode(ONE) == 3

"""Option values that are typed as text."""

import pytest

from gmvae_cli.cli.option_values import block_rows, names, number_or_auto, whole_numbers
from gmvae_cli.errors import ConfigError


def test_names():
    assert names(" a, b,,c ", "channels") == ("a", "b", "c")


def test_numbers_or_words():
    assert (number_or_auto("auto", "stride"), number_or_auto("3", "stride")) == (None, 3)
    assert (block_rows("none", "summarize"), block_rows("auto", "summarize"), block_rows("9", "summarize")) == (
        1,
        None,
        9,
    )


def test_whole_numbers():
    assert whole_numbers("1:3", "regimes") == (1, 2, 3)
    assert whole_numbers("2,4", "regimes") == (2, 4)


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (number_or_auto, "x", "--o is 'x', but must be auto or a whole number"),
        (block_rows, "1.5", "--o is '1.5', but must be auto or a whole number"),
        (whole_numbers, "1:2:3", "--o is '1:2:3', but must be a range like 1:6 or numbers like 2,4"),
        (whole_numbers, "3:1", "--o is '3:1', a range that ends before it begins"),
    ],
)
def test_other_text_is_an_error_that_says_what_was_expected(read, text, expected):
    with pytest.raises(ConfigError) as failure:
        read(text, "o")
    assert str(failure.value) == expected

"""What stands in a lowered program."""

import re

PRODUCTS = re.compile(r"stablehlo\.(?:dot_general|convolution)\b.*")


def products_of(text: str) -> list[str]:
    """The lines of products, each with its precision."""
    return PRODUCTS.findall(text)

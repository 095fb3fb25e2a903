"""Text of strangers - names of files, labels, tags - for a terminal, a spreadsheet or a Markdown page."""

import re


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # also those that turn the direction of text
FORMULA = ("=", "+", "-", "@")
MARKDOWN = re.compile(r"([\\`*_\[\]<>#|!~])")


def printable(text: str) -> str:
    r"""Control codes written \xNN, so that no name moves the cursor or clears the screen."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def csv_cell(text: str) -> str:
    """As `printable`, with an apostrophe before what a spreadsheet would compute as a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def markdown_text(text: str) -> str:
    """As `printable`, with Markdown's and HTML's signs escaped."""
    return MARKDOWN.sub(r"\\\1", printable(text)).replace("&", "&amp;")

"""What a page says, read back from its bytes."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "input"}
_BLOCKS = {"td", "th", "p", "dt", "dd", "small", "h1", "h2", "caption", "pre", "text", "title"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list["Element | str"] = field(default_factory=list)

    def text(self) -> str:
        """Return the text, with a space between blocks, as a reader sees it."""
        parts = [child if isinstance(child, str) else child.text() for child in self.children]
        text = "".join(parts)
        return f" {text} " if self.tag in _BLOCKS else text

    def all(self, *tags: str) -> list["Element"]:
        found = [self] if not tags or self.tag in tags else []
        for child in self.children:
            if isinstance(child, Element):
                found += child.all(*tags)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("#root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop()
        assert last.tag == tag, f"</{tag}> closes <{last.tag}>"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: bytes) -> Element:
    """Parse a page; an element that is not closed in order fails."""
    reader = _Reader()
    reader.feed(page.decode("utf-8"))
    reader.close()
    assert reader.open == [reader.root], f"left open: {[each.tag for each in reader.open[1:]]}"
    return reader.root


def words(page: bytes) -> str:
    """Return the body's text, white space as single spaces."""
    (body,) = read(page).all("body")
    return " ".join(body.text().split())


def cells(table: Element) -> list[list[str]]:
    """Return the rows of a table's head, body and foot; notes under a cell's text are left out."""
    return [[_first(cell) for cell in row.all("th", "td")] for row in table.all("tr")]


def _first(cell: Element) -> str:
    without = [part for part in _flat(cell) if isinstance(part, str)]
    return " ".join("".join(without).split())


def _flat(element: Element) -> list["Element | str"]:
    found: list[Element | str] = []
    for child in element.children:
        if isinstance(child, str):
            found.append(child)
        elif child.tag != "small":
            found += _flat(child)
    return found

"""From a matplotlib figure to an SVG element that can stand in an HTML page."""

import io
import re
import xml.etree.ElementTree as ET
from typing import Final

from matplotlib.figure import Figure

from serving.billing.pages.formats import printable

# No date, no creator, no links: the same figure gives the same bytes, and a page names no address.
_NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
_REFERENCE: Final = re.compile(r"url\(#")
_FONT_FAMILY: Final = re.compile(r"font-family: [^;]*;? ?")


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Draw a figure as an `<svg>` element with a title and a description for screen readers.

    Args:
        figure: The figure; it is drawn under the current matplotlib settings.
        name: Prefix of all ids in the element, unique in its page.
        title: Short name of the chart.
        description: What the chart shows, in words and numbers.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    root = ET.fromstring(drawn.getvalue())  # noqa: S314 - written by matplotlib a line above
    for element in root.iter():
        _adopt(element, name)
    for defs in root.findall("defs"):
        for style in defs.findall("style"):
            defs.remove(style)  # it would hold for the whole page
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    _describe(root, name, title, description)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _adopt(element: ET.Element, name: str) -> None:
    """Make an element one of the page: no namespaces, ids of its own, the page's font."""
    element.tag = _local(element.tag)
    attributes = {_local(key): value for key, value in element.attrib.items()}
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key == "href":
            attributes[key] = f"#{name}-{value.removeprefix('#')}"
        else:
            attributes[key] = _REFERENCE.sub(rf"\g<0>{name}-", _FONT_FAMILY.sub("", value))
    element.attrib = attributes


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _describe(root: ET.Element, name: str, title: str, description: str) -> None:
    texts = (("title", title), ("desc", description))
    for place, (tag, text) in enumerate(texts):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = printable(text)
        root.insert(place, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")

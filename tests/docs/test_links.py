"""No link of a document is broken, and what a document names exists."""

import re

import documents
import pytest

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:gmvae_cli|tests|docs|sample_data|\.github|\.ci)/[\w./-]*)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"`make ([a-z0-9-]+)")

every_document = pytest.mark.parametrize("path", documents.DOCUMENTS, ids=documents.NAMES)


def anchors(path):
    """What the headings of a document are called in links."""
    headings = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in HEADING.findall(documents.prose(path)))
    return {re.sub(r"[\s-]+", "-", heading) for heading in headings}


@every_document
def test_relative_links_lead_somewhere(path):
    for link in LINK.findall(documents.without_code(path)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@every_document
def test_files_that_are_named_exist(path):
    for name in PATH.findall(documents.prose(path)):
        assert (documents.ROOT / name).exists(), name


@every_document
def test_make_targets_are_those_of_the_makefile(path):
    makefile = (documents.ROOT / "Makefile").read_text()
    for target in TARGET.findall(documents.prose(path)):
        assert re.search(rf"^# .+\n{target}:", makefile, re.MULTILINE), target


def test_readme_is_a_screen_and_a_half():
    assert len((documents.ROOT / "README.md").read_text().splitlines()) <= 150

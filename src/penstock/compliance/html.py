"""A document as one HTML page that needs no other file and no script, and prints well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import singledispatch
from html import escape
from string import Template

from penstock.compliance.checking import HOW, lines_of
from penstock.compliance.document import Block, Document, Missing, Owned, Statement, Table
from penstock.compliance.evidence import Evidence

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title – $kind</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#1c1d1f, #e6e4df);
        --paper: light-dark(#fdfcfa, #17181a); --line: light-dark(#dcd8cf, #3a3b3e);
        --quiet: light-dark(#6b6962, #9b988f); --accent: light-dark(#1f4e79, #8cb9e6);
        --gap: light-dark(#a3261b, #ff9d92); --wash: light-dark(#f4f1ea, #1f2124); }
* { box-sizing: border-box; }
html { font-size: 17px; scroll-behavior: smooth; }
body { font-family: Charter, "Bitstream Charter", Georgia, "DejaVu Serif", serif; line-height: 1.55;
       color: var(--ink); background: var(--paper); max-width: 47rem; margin: 3.5rem auto 6rem;
       padding: 0 1.5rem; hyphens: auto; }
h1, h2, h3, nav, .kind, dt, th, caption, .label, .by { font-family: "Helvetica Neue", Arial,
       "Liberation Sans", sans-serif; hyphens: manual; }
.kind { color: var(--accent); font-size: .85rem; font-weight: 600; letter-spacing: .02em;
        margin: 0; }
h1 { font-size: 2.6rem; line-height: 1.15; letter-spacing: -.02em; margin: .2rem 0 1rem; }
h2 { font-size: 1.45rem; letter-spacing: -.01em; margin: 3.2rem 0 .8rem; padding-top: .8rem;
     border-top: 2px solid var(--ink); }
h3 { font-size: 1.02rem; margin: 2rem 0 .5rem; }
h2 .no, h3 .no { display: inline-block; min-width: 2.9rem; color: var(--accent);
     font-variant-numeric: tabular-nums; }
p { margin: .45rem 0; }
.lead { font-size: 1.05rem; color: var(--quiet); }
dl { display: grid; grid-template-columns: 10.5rem 1fr; gap: .3rem 1rem; margin: 1.5rem 0;
     padding: 1rem 1.2rem; background: var(--wash); font-size: .86rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
nav { font-size: .88rem; margin: 2rem 0; }
nav ol { list-style: none; padding: 0; margin: 0; columns: 2; column-gap: 2.5rem; }
nav li { break-inside: avoid; padding: .16rem 0 .16rem 2.2rem; text-indent: -2.2rem; }
nav .no { display: inline-block; width: 2.2rem; text-indent: 0; color: var(--quiet); }
nav .gaps { color: var(--gap); font-size: .8em; white-space: nowrap; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav a { color: inherit; }
.label { font-size: .82rem; font-weight: 600; }
.says { margin: .7rem 0; }
.says .label { display: block; }
sup { font: .62rem/1 "Helvetica Neue", Arial, sans-serif; margin-left: .12rem; }
.owned { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
.owned p { white-space: pre-line; }
.by { color: var(--quiet); font-size: .76rem; }
.missing { border: 1px solid var(--gap); padding: .5rem .9rem; margin: .8rem 0; font-size: .88rem; }
.missing b { color: var(--gap); letter-spacing: .04em; font-size: .82rem; margin-right: .3rem; }
.scroll { overflow-x: auto; margin: 1.1rem 0; }
table { border-collapse: collapse; min-width: 60%; font-size: .82rem; line-height: 1.4;
        hyphens: none; }
caption { text-align: left; font-size: .82rem; font-weight: 600; padding-bottom: .35rem; }
th { text-align: left; color: var(--quiet); font-weight: 500;
     border-bottom: 1px solid var(--ink); }
th, td { padding: .32rem .9rem .32rem 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
code, .hash { font: .72rem/1.5 "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
              overflow-wrap: anywhere; hyphens: none; }
.evidence { margin: 1.1rem 0; font-size: .88rem; break-inside: avoid; }
.evidence .no { color: var(--accent); font-weight: 600; margin-right: .4rem; }
.evidence .hash { color: var(--quiet); margin: .15rem 0 0; }
@media print {
  @page { size: A4; margin: 20mm 18mm 22mm; }
  :root { color-scheme: light; }
  html { font-size: 10.5pt; }
  body { margin: 0; padding: 0; max-width: none; background: none; }
  nav { break-after: page; }
  h2, h3, caption { break-after: avoid; }
  tr, .owned, .missing, .says { break-inside: avoid; }
  a { color: inherit; }
}
@media (max-width: 40rem) { nav ol { columns: 1; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } }
</style>
</head>
<body>
<header>
<p class="kind">$kind</p>
<h1>$title</h1>
<p class="lead">$lead</p>
<dl>
$head
</dl>
</header>
<nav aria-label="Contents">
<ol>
$contents
</ol>
</nav>
<main>
$sections
</main>
</body>
</html>
""")


def page(document: Document) -> str:
    """The whole page. Every text is escaped."""
    return PAGE.substitute(
        kind=escape(document.kind),
        title=escape(document.title),
        lead=escape(document.lead),
        head="\n".join(f"<dt>{escape(k)}</dt><dd>{_hashes(v)}</dd>" for k, v in document.head),
        contents="\n".join(_contents(document)),
        sections="\n".join((*_sections(document), *_appendix(document))),
    )


def _hashes(text: str) -> str:
    """Escaped, with digests in a face that they can be compared in."""
    return re.sub(r"\b[0-9a-f]{32,64}\b", r"<code>\g<0></code>", escape(text))


def _contents(document: Document) -> Iterator[str]:
    for section in document.sections:
        gaps = sum(isinstance(b, Missing) for part in section.walk() for b in part.blocks)
        told = f' <span class="gaps">{gaps} missing</span>' if gaps else ""
        number = f'<span class="no">{escape(section.number)}</span>'
        title = escape(section.title)
        yield f'<li>{number}<a href="#{section.anchor}">{title}</a>{told}</li>'
    if document.evidence:
        yield '<li><span class="no">E</span><a href="#evidence">Evidence</a></li>'


def _sections(document: Document) -> Iterator[str]:
    for top in document.sections:
        for section in top.walk():
            level = "h2" if section is top else "h3"
            number = f'<span class="no">{escape(section.number)}</span>' if section.number else ""
            heading = f"{number}{escape(section.title)}"
            yield f'<{level} id="{section.anchor}">{heading}</{level}>'
            for block in section.blocks:
                yield _block(block, document)


@singledispatch
def _block(block: Block, document: Document) -> str:
    raise TypeError(f"{type(block).__name__} is no block of a document")


@_block.register
def _(block: Statement, document: Document) -> str:
    cites = _cites(block.evidence, document)
    label, text = escape(block.label), _hashes(block.text)
    return f'<p class="says"><span class="label">{label}</span>{text}{cites}</p>'


@_block.register
def _(block: Owned, document: Document) -> str:
    return (
        f'<div class="owned"><span class="label">{escape(block.label)}</span>'
        f"<p>{escape(block.text)}{_cites(block.evidence, document)}</p>"
        f'<span class="by">{escape(block.by)}</span></div>'
    )


@_block.register
def _(block: Missing, document: Document) -> str:
    return (
        f'<p class="missing"><b>MISSING</b> <span class="label">{escape(block.what)}</span><br>'
        f"{escape(block.todo)}</p>"
    )


@_block.register
def _(block: Table, document: Document) -> str:
    caption = f"<caption>{escape(block.caption)}{_cites(block.evidence, document)}</caption>"
    heads = "".join(f"<th>{escape(head)}</th>" for head in block.heads)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{_hashes(cell)}</td>' for cell in row)}</tr>" for row in block.rows
    )
    return (
        f'<div class="scroll"><table>{caption}\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cites(names: Iterable[str], document: Document) -> str:
    cited = document.citations(names)
    return "".join(f'<sup><a href="#{number}">{number}</a></sup>' for number in cited)


def _appendix(document: Document) -> Iterator[str]:
    if not document.evidence:
        return
    yield '<h2 id="evidence"><span class="no">E</span>Evidence, and how to check it</h2>'
    yield from (f"<p>{escape(text)}</p>" for text in HOW)
    for number, one in zip(document.numbers.values(), document.evidence, strict=True):
        yield _evidence(number, one, document)


def _evidence(number: str, one: Evidence, document: Document) -> str:
    lines = lines_of(one)
    told = "<br>".join(map(escape, lines))
    cites = _cites((f"entry/{one.proof.sequence}",), document) if one.proof else ""
    name = escape(one.name)
    return (
        f'<div class="evidence" id="{number}"><span class="no">{number}</span>'
        f"<b>{name}</b>: {escape(one.says)}{cites if len(lines) == 2 else ''}"
        f'<p class="hash">{told}</p></div>'
    )

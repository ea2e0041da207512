"""The report's Markdown, set as GitHub's Markdown, HTML and PDF by pandoc and typst."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from ablations import mathfont
from ablations.config import TEMPLATES
from ablations.errors import UserError
from ablations.files import write_bytes, write_text

LINKED = ["--metadata=link-citations:true"]
# Tags in the texts of studies are words like others; what the template has of HTML and typst, it marks as such.
MARKDOWN = "markdown-raw_html-raw_tex-native_divs-native_spans"


class Typesetter:
    """Sets the Markdown of one report; paths in it are relative to `folder`. UserError with pandoc's words where it
    cannot."""

    def __init__(self, folder: Path, bibliographies: Iterable[Path]):
        self.folder = folder
        self.common = [
            f"--from={MARKDOWN}",
            f"--lua-filter={TEMPLATES / 'numbers.lua'}",
        ]  # before the citations
        self.common += ["--citeproc", *(f"--bibliography={path.absolute()}" for path in bibliographies)]
        self.common += [f"--lua-filter={TEMPLATES / 'plain.lua'}"]  # of the citations too

    def pandoc(self, source: str, *arguments: str) -> str:
        """What pandoc makes of Markdown."""
        import pypandoc

        command = [pypandoc.get_pandoc_path(), *self.common, *arguments]
        done = subprocess.run(command, input=source, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.partition("stack traceback:")[0]
            raise UserError(f"pandoc could not set the report: {' '.join(said.split())}")
        return done.stdout

    def markdown(self, source: str, name: str, title: str, subtitle: str) -> None:
        """GitHub's Markdown: citations resolved, formulas between dollars."""
        form = ["--to=gfm+tex_math_dollars-raw_html", "--wrap=none", "--shift-heading-level-by=1"]
        head = f"# {title}\n\n{subtitle}".replace("<", "\\<")  # no tags here either
        write_text(self.folder / name, f"{head}\n\n{self.pandoc(source, *form)}")

    def html(self, source: str, name: str) -> None:
        """One file that works offline: figures, style, script and formulas (MathML) inside."""
        form = ["--to=html5", "--standalone", "--embed-resources", "--mathml", "--number-sections"]
        form += LINKED
        form += ["--toc", "--toc-depth=1"]
        form += [f"--template={TEMPLATES / 'page.html'}", f"--resource-path=.:{TEMPLATES}"]
        page = self.pandoc(source, *form)
        write_text(self.folder / name, page.replace("</head>", f"{mathfont.style(page)}\n</head>", 1))

    def typst(self, source: str, paper: bool) -> str:
        """What typst sets: in two columns for a `paper`, else in one."""
        form = ["--to=typst", "--standalone", f"--template={TEMPLATES / 'paper.typ'}"]
        return self.pandoc(source, *form, *LINKED, *(["--variable=paper"] if paper else []))

    def pdf(self, source: str, name: str, paper: bool) -> None:
        """A PDF, its figures as vectors."""
        import typst

        text = self.typst(source, paper)
        try:
            pages = typst.compile(text.encode(), root=self.folder.absolute(), format="pdf")
        except typst.TypstError as error:
            raise UserError(f"typst could not set the report: {error}") from None
        write_bytes(self.folder / name, pages)

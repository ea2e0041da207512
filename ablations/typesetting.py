"""The report's Markdown, set as GitHub's Markdown, HTML and PDF by pandoc and typst."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from ablations.config import TEMPLATES
from ablations.errors import UserError
from ablations.files import write_bytes, write_text

PAGE = ("papersize=a4", "fontsize=10pt", "page-numbering=1", "margin.x=2cm", "margin.y=2.2cm")


class Typesetter:
    """Sets one report; paths in its Markdown are relative to `folder`. UserError with pandoc's words where it
    cannot."""

    def __init__(self, source: str, folder: Path, bibliographies: Iterable[Path]):
        self.source, self.folder = source, folder
        self.citations = ["--citeproc", "--metadata=link-citations:true"]
        self.citations += [f"--bibliography={path.absolute()}" for path in bibliographies]

    def pandoc(self, *arguments: str) -> str:
        """What pandoc makes of the report."""
        import pypandoc

        command = [pypandoc.get_pandoc_path(), "--from=markdown", *self.citations, *arguments]
        done = subprocess.run(command, input=self.source, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"pandoc could not set the report: {done.stderr.strip()}")
        return done.stdout

    def markdown(self, name: str, title: str, subtitle: str) -> None:
        """GitHub's Markdown: citations resolved, formulas between dollars."""
        form = ["--to=gfm+tex_math_dollars-raw_html", "--wrap=none", "--shift-heading-level-by=1"]
        form.append(f"--lua-filter={TEMPLATES / 'markdown.lua'}")
        write_text(self.folder / name, f"# {title}\n\n{subtitle}\n\n{self.pandoc(*form)}")

    def html(self, name: str) -> None:
        """One file that works offline: figures, style, script and formulas (MathML) inside."""
        form = ["--to=html5", "--standalone", "--embed-resources", "--mathml", "--toc", "--toc-depth=2"]
        form += [f"--template={TEMPLATES / 'page.html'}", f"--resource-path=.:{TEMPLATES}"]
        write_text(self.folder / name, self.pandoc(*form))

    def pdf(self, name: str) -> None:
        """A paper, its figures as vectors."""
        import typst

        form = ["--to=typst", "--standalone", f"--include-in-header={TEMPLATES / 'paper.typ'}"]
        form += [f"--variable={variable}" for variable in PAGE]
        try:
            paper = typst.compile(self.pandoc(*form).encode(), root=self.folder.absolute(), format="pdf")
        except typst.TypstError as error:
            raise UserError(f"typst could not set the report: {error}") from None
        write_bytes(self.folder / name, paper)

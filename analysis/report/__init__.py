"""From rows to what is read: tables, figures for print, contact sheets, and the page of a study.

In come tidy rows, pictures and the files of finished cells; out go text, PNG, SVG, CSV and one HTML file. A line in
here computes nothing that is not in the rows, and never asks a model.
"""

from analysis.report.build import app, build_report, main, show

__all__ = ["app", "build_report", "main", "show"]

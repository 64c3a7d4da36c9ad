"""Rows of text as an aligned table or as Markdown. Called by report.py; knows no figures."""


def aligned(header, rows):
    """Columns padded to their widest cell: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    ruler = ["-" * width for width in widths]
    return "\n".join(_padded(row, widths) for row in [header, ruler, *rows])


def markdown(header, rows):
    """The same for a README."""
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])


def _padded(row, widths):
    first = row[0].ljust(widths[0])
    return "  ".join([first] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()

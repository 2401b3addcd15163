"""Text as LaTeX: what would be a command, and the signs that fonts of LaTeX lack in text."""

import re

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "–": "--", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$", "÷": r"$\div$", "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "∞": r"$\infty$",
    "←": r"$\leftarrow$", "→": r"$\to$", "●": r"$\bullet$", "○": r"$\circ$", "°": r"$^{\circ}$", "²": "$^2$",
    "₀": "$_0$", "₁": "$_1$", "₂": "$_2$",
    "‖": r"$\|$", "√": r"$\surd$", "∈": r"$\in$", "∇": r"$\nabla$", "⊙": r"$\odot$", "Σ": r"$\Sigma$",
    "Δ": r"$\Delta$", "Θ": r"$\Theta$", "β": r"$\beta$", "δ": r"$\delta$", "η": r"$\eta$", "θ": r"$\theta$",
    "λ": r"$\lambda$", "ρ": r"$\rho$", "σ": r"$\sigma$", "φ": r"$\varphi$",
}  # fmt: skip
NEGATIVE = re.compile(r"(?<![\w.)-])-(?=\d)")  # a minus before a number, not the hyphen of a name or a range


def in_latex(text: str) -> str:
    r"""Return a text for LaTeX.

    Example:
        >>> in_latex("stripes ← a_b: -7 %")
        'stripes $\\leftarrow$ a\\_b: $-$7 \\%'
    """
    return "".join(LATEX.get(sign, sign) for sign in NEGATIVE.sub("−", text))

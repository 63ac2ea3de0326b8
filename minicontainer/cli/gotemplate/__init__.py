"""Go's text/template, as far as ``--format`` goes: the language that Docker's users write their questions in."""

from minicontainer.cli.gotemplate.template import Template, TemplateError, TemplateSyntaxError

__all__ = ["Template", "TemplateError", "TemplateSyntaxError"]

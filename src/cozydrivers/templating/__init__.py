"""Templates of strategies: a strict subset of Go's text/template.

    values       .A.b.c   $   .   "text"   `text`   12   true   ( … )
    pipelines    .A.b | default "x" | quote     a value is the last argument of the function that follows
    conditions   {{ if … }} {{ else if … }} {{ else }} {{ end }}     true as in Go: neither empty nor zero
    comments     {{/* … */}}
    trimming     {{- and -}} remove the white space beside them
    functions    and default eq index lower ne not or printf (%s %d %v %q) quote replace required squote toString trim
                 trimPrefix trimSuffix upper, with the arguments that Go, sprig and Helm give them

Anything else is refused by its name. So is a field that is missing or null, except where its absence is asked about:
as the last (or piped) argument of `default` or `required`, and as the whole condition of an `if`; there the last key
of an `index` may be missing too. Only text, integers and booleans can be written, and what takes text takes nothing
else: `toString` makes text of the others. What is accepted gives what Go gives (tried with text/template of Go 1.26
and slim-sprig 3.0), but for large numbers, which Go writes with an exponent after a round trip through JSON.
"""

from cozydrivers.templating.render import render

__all__ = ["render"]

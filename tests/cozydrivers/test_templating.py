import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cozydrivers.errors import TemplateError
from cozydrivers.templating import render

SEED = Path(__file__).parents[2] / "fixtures" / "seed"
CONTEXT: dict[str, Any] = {
    "Application": {
        "metadata": {
            "name": "shop",
            "namespace": "tenant-a",
            "annotations": {"example.com/owner": "ann"},
            "labels": {"tier": "Gold"},
        },
        "spec": {
            "shards": 2,
            "backup": {"enabled": True, "bucket": "", "paused": False},
            "users": ["root", "reader"],
            "ratio": 0.5,
            "nothing": None,
        },
    },
    "Parameters": {"prefix": "nightly/", "keep": "7"},
    "Release": {"Name": "shop", "Namespace": "tenant-a"},
    "Mode": "backup",
}


def text(template: str) -> str:
    rendered = render(template, CONTEXT)
    assert isinstance(rendered, str)
    return rendered


def refusal(template: str) -> str:
    with pytest.raises(TemplateError) as caught:
        render(template, CONTEXT)
    assert caught.value.field == "spec.template"
    return caught.value.message


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("clickhouse-{{ .Release.Name }}-backup-api-auth", "clickhouse-shop-backup-api-auth"),
        ("s3://bucket/{{.Application.metadata.name}}/", "s3://bucket/shop/"),
        ("{{ $.Mode }} {{ .Application.spec.shards }} {{ true }} {{ -12 }}", "backup 2 true -12"),
        ("{{ .Application.spec.backup.enabled }}", "true"),
        (r'{{ "a \"b\"\n" }}{{ `raw \n` }}', 'a "b"\nraw \\n'),
        ("a }} b", "a }} b"),
        ('{{ "}}" }}', "}}"),
        ("{{ .Mode | upper | lower }}", "backup"),
        ('{{ .Parameters.prefix | trimSuffix "/" | printf "%s-%d" .Mode | trim }}', None),
        ("{{ (index .Application.spec.users 1) }}", "reader"),
        ('{{ index .Application.metadata.annotations "example.com/owner" }}', "ann"),
        ('{{ (index . "Application").metadata.name }}', "shop"),
    ],
)
def test_values_and_pipelines(template, expected):
    if expected is None:
        assert "%d does not take text" in refusal(template)
    else:
        assert text(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{{ default "x" .Parameters.prefix }}', "nightly/"),
        ('{{ .Application.spec.backup.bucket | default "x" }}', "x"),
        ('{{ required "say keep" .Parameters.keep }}', "7"),
        ("{{ quote .Mode 1 true }}", '"backup" "1" "true"'),
        (r'{{ quote "a\"b\\c" }}', r'"a\"b\\c"'),
        ('{{ "a\x01\x7f\u00e9\u200b" | quote }}', '"a\\x01\\x7fé\\u200b"'),
        ("{{ squote .Mode }}", "'backup'"),
        ('{{ eq .Mode "restore" "backup" }} {{ ne .Mode "backup" }}', "true false"),
        ('{{ and "" "b" }}|{{ and "a" "b" }}|{{ or "" "b" }}|{{ or "a" "b" }}', "|b|b|a"),
        ("{{ not .Application.spec.backup.paused }}", "true"),
        ('{{ upper "straße" }} {{ lower "ΓΣ" }}', "STRAßE \u03b3\u03c3"),
        ('{{ trim "\\n a \\t" }}', "a"),
        ('{{ trimPrefix "clickhouse-" "clickhouse-shop" }} {{ trimSuffix "-x" "shop" }}', "shop shop"),
        ('{{ replace "/" "-" "a/b/c" }}', "a-b-c"),
        ('{{ printf "%s %d %v %v %q %%" .Mode 3 true 4 "q" }}', 'backup 3 true 4 "q" %'),
        ('{{ toString 12 | printf "%s" }}', "12"),
    ],
)
def test_functions(template, expected):
    assert text(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{{ if eq .Mode "backup" }}POST{{ else }}GET{{ end }}', "POST"),
        ('{{ if eq .Mode "restore" }}a{{ else if eq .Mode "backup" }}b{{ else }}c{{ end }}', "b"),
        ("{{ if .Application.spec.backup.bucket }}a{{ end }}", ""),
        ("{{ if .Parameters.absent }}a{{ else }}b{{ end }}", "b"),
        ("{{ if .Application.spec.nothing.below }}a{{ else }}b{{ end }}", "b"),
        ('{{ if index .Application.metadata.labels "k" }}a{{ else }}b{{ end }}', "b"),
        ("{{ if .Mode }}{{ if .Parameters.absent }}a{{ else }}b{{ end }}c{{ end }}d", "bcd"),
        ("{{ if 0 }}a{{ end }}{{ if .Application.spec.users }}b{{ end }}{{ if false }}c{{ end }}", "b"),
        ("{{ if .Parameters.absent }}{{ .Parameters.absent }}{{ end }}", ""),
    ],
)
def test_conditions(template, expected):
    assert text(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a  {{- .Mode -}}  b", "abackupb"),
        ("a  {{- .Mode }}  b", "abackup  b"),
        ("a\n{{- /* note {{ }} */ -}}\nb", "ab"),
        ("a {{/* note */}} b", "a  b"),
        ("{{ if true -}}\n a\n{{- end }}", "a"),
        ("{{-3}}", "-3"),
    ],
)
def test_comments_and_trimming(template, expected):
    assert text(template) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ .Application.metadata.nope }}", ".Application.metadata.nope is missing"),
        ("{{ .Nope.below }}", ".Nope.below is missing"),
        ("{{ .Application.spec.nothing }}", ".Application.spec.nothing is missing"),
        ('{{ lower .Parameters.absent | default "x" }}', ".Parameters.absent is missing"),
        ("{{ if not .Parameters.absent }}a{{ end }}", ".Parameters.absent is missing"),
        ('{{ if eq .Parameters.absent "a" }}a{{ end }}', ".Parameters.absent is missing"),
        ('{{ default .Parameters.absent "" }}', ".Parameters.absent is missing"),
        ('{{ index .Application.metadata.annotations "no/no" }}', ".Application.metadata.annotations.no/no is missing"),
        ("{{ (index .Application.spec.users 7) | quote }}", ".Application.spec.users.7 is missing"),
        ('{{ index .Application.absent "k" | default "x" }}', ".Application.absent is missing"),
        ('{{ required "say where" .Parameters.absent }}', "say where"),
        ('{{ .Application.spec.backup.bucket | required "say where" }}', "say where"),
    ],
)
def test_what_is_missing_is_refused_by_name(template, message):
    assert message in refusal(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ range .Application.spec.users }}{{ . }}{{ end }}", "range is not supported"),
        ('{{ template "x" . }}', "template is not supported"),
        ('{{ define "x" }}{{ end }}', "define is not supported"),
        ("{{ with .Mode }}{{ end }}", "with is not supported"),
        ("{{ nil }}", "nil is not supported"),
        ("{{ if false }}{{ env `HOME` }}{{ end }}", "env is not supported"),
        ("{{ $name }}", "variables such as $name are not supported"),
        ("{{ 1.5 }}", "can't read '1.5 }}'"),
        ("{{ 'a' }}", "can't read"),
        ("{{ .Application.metadata.labels.a-b }}", "can't read"),
        (r'{{ "\x41" }}', r"the escape \x is not supported"),
        ('{{ "a""b" }}', "can't read"),
        ('{{ .Mode "x" }}', '"x" is not expected'),
        ('{{ "x" | .Mode }}', ".Mode is no function"),
        ("{{ quote lower }}", "a value is expected where lower stands"),
        ("{{ quote }}", "quote does not take 0 arguments"),
        ("{{ ne 1 2 3 }}", "ne does not take 3 arguments"),
        ("{{ index .Mode }}", "index does not take 1 arguments"),
        ("{{ }}", "a value is expected"),
        ("{{ .Mode | }}", "is no function"),
        ("{{ (.Mode }}", "}} is not expected"),
        ("{{ .Mode ) }}", ") is not expected"),
        ("{{ .Mode", "can't read '.Mode'"),
        ("{{ if .Mode }}", "an if without an end"),
        ("{{ if }}{{ end }}", "a value is expected"),
        ("{{ end }}", "end without an if"),
        ("{{ else }}", "else without an if"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "a second else"),
        ("{{/* open }}", "can't read"),
        ("{{/* note */ }}", "can't read"),
        ("{{ .Application.spec.ratio }}", "a fraction can't be written"),
        ("{{ .Application.spec }}", "an object can't be written"),
        ("{{ .Application.spec.users }}", "a list can't be written"),
        ("{{ .Mode.below }}", ".Mode.below: text has no 'below'"),
        ("{{ index .Application.spec.users `a` }}", "a list has no 'a'"),
        ("{{ index .Application.spec.users true }}", "a list has no True"),
        ("{{ lower 5 }}", "text is expected, not an integer"),
        ('{{ eq .Application.spec.shards "2" }}', "an integer can't be compared with text"),
        ("{{ eq true 1 }}", "a boolean can't be compared with an integer"),
        ("{{ eq .Application .Application }}", "an object can't be compared with an object"),
        ('{{ printf "%s" }}', "more verbs than values"),
        ('{{ printf "a" 1 }}', "more values than verbs"),
        ('{{ printf "%5d" 1 }}', "printf does not know %5"),
        ('{{ printf "%s" 1 }}', "%s does not take an integer"),
        ("{{ printf 1 }}", "text is expected"),
        ("{{ required 1 2 }}", "text is expected"),
        ("{{ 1234567890123456789012345678901 }}", "a value is expected"),
    ],
)
def test_what_is_outside_of_the_subset_is_refused_by_name(template, message):
    assert message in refusal(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ .Mode" + " | lower" * 5000 + " }}",
        "{{ if true }}" * 5000 + "{{ end }}" * 5000,
        "{{ if false }}" + "{{ else if false }}" * 5000 + "{{ end }}",
        "{{ " + "." + "a." * 100_000 + " }}",
        "{{ `aaaaaaaa`" + " | replace `a` `aaaaaaaaaaaaaaaa`" * 20 + " }}",
        "{{ `a`" + " | printf `%[1]s%[1]s`" * 20 + " }}",
        "{{ `\x01`" + " | quote | printf `%q`" * 40 + " }}",
        "{{ replace `` `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` `" + "a" * 20_000 + "` }}",
    ],
)
def test_depth_and_size_have_bounds(template):
    refusal(template)


def test_all_texts_together_have_a_bound():
    large = "{{ .Big }}"
    with pytest.raises(TemplateError, match=r"^spec\.template\[4\]: more than 1048576 characters$"):
        render([large] * 8, {"Big": "x" * 250_000})
    nested: Any = "x"
    for _ in range(100):
        nested = [nested]
    with pytest.raises(TemplateError, match="deeper than 32 levels"):
        render(nested, {})


def test_structure_and_keys_and_other_types_stay():
    template = {"{{ .Mode }}": ["{{ .Mode }}", 1, 1.5, True, None, {"a": '{{ `{"b": [1]}` }}'}]}
    assert render(template, CONTEXT) == {"{{ .Mode }}": ["backup", 1, 1.5, True, None, {"a": '{"b": [1]}'}]}


def test_the_path_of_the_field_is_told():
    template = {"containers": [{"env": [{"name": "A"}, {"name": "{{ .Nope }}"}]}], "annotations": {}}
    with pytest.raises(TemplateError) as caught:
        render(template, CONTEXT)
    assert str(caught.value) == "spec.template.containers[0].env[1].name: .Nope is missing"
    with pytest.raises(TemplateError, match=r"^spec\.podTemplate\.annotations\[a\.b/c\]: "):
        render({"annotations": {"a.b/c": "{{ .Nope }}"}}, CONTEXT, field="spec.podTemplate")


def leaves(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        return set().union(*(leaves(item) for item in (value.values() if isinstance(value, dict) else value)))
    return {value} if isinstance(value, str) else set()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("postgres", {"shop", "s3://db-backups/shop/", "shop-cnpg-backup-ca", "shop-cnpg-backup-creds", "30d"}),
        ("mariadb", {"shop/", "shop-mariadb-backup-creds", "shop-mariadb-backup-ca", "db-backups"}),
        ("clickhouse", {"clickhouse-shop-backup-api-auth", "ch-backup-client", "alpine:3.19"}),
    ],
)
def test_the_strategies_of_the_guide(file, expected):
    strategy, _ = yaml.safe_load_all((SEED / f"{file}.yaml").read_text())
    rendered = leaves(render(strategy["spec"], CONTEXT, field="spec"))
    assert expected <= rendered
    assert not any("{{" in leaf for leaf in rendered)


def test_a_script_that_branches_on_the_mode():
    script = (
        "set -eu\n"
        '{{- if eq .Mode "backup" }}\n'
        'curl -XPOST "$URL/backup/create_remote?name={{ .Release.Name }}"\n'
        "{{- else }}\n"
        'curl -XPOST "$URL/backup/restore_remote/{{ .Parameters.archive }}"\n'
        "{{- end }}\n"
        "jq -r '.[] | select(.status==\"success\")' # ${NAME}\n"
    )
    secret = {"name": "clickhouse-{{ .Release.Name }}-backup-api-auth", "key": "username"}
    rendered = render({"args": [script], "env": [{"valueFrom": {"secretKeyRef": secret}}]}, CONTEXT)
    assert rendered["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "clickhouse-shop-backup-api-auth"
    (rendered_script,) = rendered["args"]
    assert rendered_script.splitlines() == [
        "set -eu",
        'curl -XPOST "$URL/backup/create_remote?name=shop"',
        "jq -r '.[] | select(.status==\"success\")' # ${NAME}",
    ]


PIECES = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{-",
            "-}}",
            "(",
            ")",
            "|",
            ".Mode",
            ".",
            "$",
            "if",
            "else",
            "end",
            "eq",
            "default",
            "index",
            "1",
        ),
        *(
            "printf",
            '"%s"',
            "`",
            '"',
            "\\",
            "/*",
            "*/",
            "quote",
            "replace",
            "true",
            ".Application.spec",
            ".No",
            " ",
            "\n",
        ),
    ]
)
TEMPLATES = st.one_of(
    st.text(),
    st.lists(st.one_of(PIECES, st.text(max_size=3))).map("".join),
    st.lists(PIECES).map(lambda pieces: "{{ " + " ".join(pieces) + " }}"),
)


@given(TEMPLATES)
@example("{{" + '"\\')
@example("{{ $ }}")
def test_any_text_renders_to_text_or_is_refused(template):
    try:
        rendered = render(template, CONTEXT)
    except TemplateError:
        return
    assert isinstance(rendered, str)


@given(st.text().filter(lambda plain: "{{" not in plain))
def test_text_without_braces_stays(plain):
    assert render(plain, CONTEXT) == plain


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["{{ .Value }}", "{{ .Value | quote }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.text())
def test_no_value_changes_the_structure(template, value):
    try:
        rendered = render(template, {"Value": value})
    except TemplateError:
        return
    assert shape(rendered) == shape(template)
    assert shape(json.loads(json.dumps(rendered))) == shape(template)


@given(st.text())
def test_a_value_is_written_as_it_is_and_not_read_again(value):
    assert render("<{{ .Value }}>", {"Value": value}) == f"<{value}>"

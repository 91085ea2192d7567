#!/usr/bin/env python3
"""The manifests of ops/kubernetes: the plain file is the chart with its values, every field is one that the
API has, selectors match their pods, and nothing runs as root.

    manifests.py            checks; also with `helm template` where it is installed
    manifests.py --write    makes ops/kubernetes/qfleet.yaml anew
"""
import os
import re
import shutil
import subprocess
import sys

FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "ops", "kubernetes")
HEAD = ("# qfleet on Kubernetes: the chart of ops/kubernetes/chart with its values, as one file.\n"
        "#   qctl init keys --host qfleet-coordinator\n"
        "#   head -c 24 /dev/urandom | base64 > keys/http.token\n"
        "#   kubectl create secret generic qfleet-keys --from-file=keys\n"
        "#   kubectl apply -f ops/kubernetes/qfleet.yaml\n"
        "# Made by tests/e2e/manifests.py --write.\n")

# What our manifests use of the API, by kind: every key of a mapping must be listed under its path. A list
# stands for its elements, `*` for any key.
META = "name labels{*}"
CONTEXT = "allowPrivilegeEscalation readOnlyRootFilesystem capabilities{drop}"
PROBE = "httpGet{path port} periodSeconds timeoutSeconds failureThreshold"
CONTAINER = ("name image command env{name value valueFrom{fieldRef{fieldPath}}} ports{name containerPort} "
             "startupProbe{%s} readinessProbe{%s} livenessProbe{%s} resources{requests{cpu memory} limits{memory}} "
             "securityContext{%s} volumeMounts{name mountPath readOnly}" % (PROBE, PROBE, PROBE, CONTEXT))
POD = ("metadata{labels{*}} spec{serviceAccountName automountServiceAccountToken terminationGracePeriodSeconds "
       "securityContext{runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile{type}} initContainers{%s} "
       "containers{%s} volumes{name secret{secretName defaultMode items{key path}} emptyDir{medium} "
       "configMap{name}}}" % (CONTAINER, CONTAINER))
FIELDS = {
    "v1 ServiceAccount": "metadata{%s}" % META,
    "v1 ConfigMap": "metadata{%s} data{*}" % META,
    "v1 Service": "metadata{%s} spec{selector{*} ports{name port}}" % META,
    "rbac.authorization.k8s.io/v1 Role": "metadata{%s} rules{apiGroups resources resourceNames verbs}" % META,
    "rbac.authorization.k8s.io/v1 RoleBinding":
        "metadata{%s} roleRef{apiGroup kind name} subjects{kind name}" % META,
    "apps/v1 StatefulSet":
        "metadata{%s} spec{serviceName replicas selector{matchLabels{*}} template{%s} volumeClaimTemplates{"
        "metadata{name} spec{accessModes storageClassName resources{requests{storage}}}}}" % (META, POD),
    "apps/v1 Deployment":
        "metadata{%s} spec{replicas selector{matchLabels{*}} strategy{type rollingUpdate{maxUnavailable maxSurge}} "
        "template{%s}}" % (META, POD),
    "policy/v1 PodDisruptionBudget": "metadata{%s} spec{maxUnavailable selector{matchLabels{*}}}" % META,
}


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def fields(text):
    """"a b{c d}" as nested mappings."""
    tree, stack = {}, []
    last = None
    for word in re.findall(r"[\w*]+|[{}]", text):
        if word == "{":
            stack.append(tree)
            tree = last
        elif word == "}":
            tree = stack.pop()
        else:
            last = tree.setdefault(word, {})
    return tree


def check_fields(value, tree, path):
    if isinstance(value, list):
        for index, element in enumerate(value):
            check_fields(element, tree, "%s[%d]" % (path, index))
    elif isinstance(value, dict):
        for key, inner in value.items():
            check(key in tree or "*" in tree, "%s: %r is no field of it that we know" % (path, key))
            check_fields(inner, tree.get(key, {}), "%s.%s" % (path, key))


def value_of(values, path):
    for word in path.split("."):
        check(word in values, "values.yaml has no %s" % path)
        values = values[word]
    return values


def render(text, values, release):
    """The few things that our templates say: values, the release, if, else and end on lines of their own."""
    lines, shown = [], [True]
    for line in text.split("\n"):
        tag = re.fullmatch(r"\s*\{\{- (if \.Values\.([\w.]+)|else|end) \}\}", line)
        if tag is None:
            if all(shown):
                line = re.sub(r"\{\{ \.Values\.([\w.]+) \}\}", lambda m: str(value_of(values, m.group(1))), line)
                lines.append(line.replace("{{ .Release.Name }}", release))
        elif tag.group(1) == "end":
            shown.pop()
        elif tag.group(1) == "else":
            shown[-1] = not shown[-1]
        else:
            shown.append(bool(value_of(values, tag.group(2))))
    check(shown == [True], "an if has no end")
    return "\n".join(lines)


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def check_workload(item, pod):
    name = item["metadata"]["name"]
    labels = pod["metadata"]["labels"]
    check(item["spec"]["selector"]["matchLabels"].items() <= labels.items(), "%s does not select its pods" % name)
    check(pod["spec"]["securityContext"]["runAsNonRoot"] is True, "%s may run as root" % name)
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        context = container["securityContext"]
        check(context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"] and
              context["capabilities"]["drop"] == ["ALL"], "%s: %s is not confined" % (name, container["name"]))
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        check(mounted <= volumes, "%s mounts %s of %s" % (name, mounted, volumes))
        check(all(isinstance(word, str) for word in container["command"]), "%s: a word is no text" % name)


def check_items(text):
    import yaml
    items = [item for item in yaml.safe_load_all(text) if item]
    for item in items:
        kind = "%s %s" % (item.pop("apiVersion"), item.pop("kind"))
        check(kind in FIELDS, "%s is no kind that we use" % kind)
        check_fields(item, fields(FIELDS[kind]), kind)
        if "template" in item.get("spec", {}):
            check_workload(item, item["spec"]["template"])
        if kind == "v1 ConfigMap":
            providers = yaml.safe_load(item["data"]["providers.yml"])["providers"]
    deployment = [i for i in items if i["metadata"]["name"].endswith("-worker") and "template" in i["spec"]][0]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    check(labels["qfleet/provider"] == providers[0]["name"], "pods do not carry their provider's name")
    check(providers[0]["deployment"] == deployment["metadata"]["name"], "the provider scales another Deployment")
    return len(items)


def main():
    try:
        import yaml
    except ImportError:
        print("skipped: no PyYAML (Debian: python3-yaml)")
        return 77
    values = yaml.safe_load(read("chart/values.yaml"))
    templates = ("chart/templates/coordinator.yaml", "chart/templates/worker.yaml")
    def rendered(changed):
        return "---\n".join(render(read(name), changed, "qfleet") for name in templates)
    plain = HEAD + rendered(values)
    if sys.argv[1:] == ["--write"]:
        with open(os.path.join(FOLDER, "qfleet.yaml"), "w", encoding="utf-8") as out:
            out.write(plain)
        return 0
    check(read("qfleet.yaml") == plain, "qfleet.yaml is not the chart; run tests/e2e/manifests.py --write")
    print("qfleet.yaml: %d objects" % check_items(plain))
    other = dict(values, coordinator=dict(values["coordinator"], http=False, storageClass="fast"))
    print("other values: %d objects" % check_items(rendered(other)))
    if shutil.which("helm") is None:
        print("no helm here: rendered by ourselves only")
        return 0
    done = subprocess.run(["helm", "template", "qfleet", os.path.join(FOLDER, "chart")], check=True,
                          capture_output=True, text=True)
    print("helm: %d objects" % check_items(done.stdout))
    return 0


if __name__ == "__main__":
    sys.exit(main())

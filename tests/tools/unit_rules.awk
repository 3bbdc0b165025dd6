# Writes the make rules of the unit tests from the comments "links: ..." and "libs: ..." at the head of each
# (see Makefile). A comment may go over several lines.
function objects(list,    n, part, i, text) {
    n = split(list, part, " ")
    for (i = 1; i <= n; i++)
        if (part[i] ~ /\.c$/ && !(part[i] in seen)) {
            seen[part[i]] = 1
            text = text " " build "/host/" substr(part[i], 1, length(part[i]) - 2) ".o"
        }
    return text
}
function inside(text, key) {
    if (!match(text, "/\\* *" key ":"))
        return ""
    text = substr(text, RSTART + RLENGTH)
    sub(/\*\/.*/, "", text)
    gsub(/ \* /, " ", text)
    return text
}
function rules(    name, target, libs) {
    name = file
    sub(/.*\//, "", name)
    sub(/\.c$/, "", name)
    target = build "/unit/" name
    delete seen
    print target ":" objects(file " " inside(head, "links") " " common)
    libs = inside(head, "libs")
    if (libs != "")
        print target ": UNIT_LIBS := " libs
}
FNR == 1 {
    if (file ~ /test_/)
        rules()
    file = FILENAME
    head = ""
}
FNR <= 8 { head = head $0 " " }
END {
    if (file ~ /test_/)
        rules()
}

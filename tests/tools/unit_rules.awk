# Writes the make rules of the unit tests from the first two lines of each (see Makefile).
function objects(list,    n, part, i, text) {
    n = split(list, part, " ")
    for (i = 1; i <= n; i++)
        if (part[i] ~ /\.c$/ && !(part[i] in seen)) {
            seen[part[i]] = 1
            text = text " " build "/host/" substr(part[i], 1, length(part[i]) - 2) ".o"
        }
    return text
}
function inside(line, key) {
    if (line !~ ("^/\\* *" key ":"))
        return ""
    sub("^/\\* *" key ": *", "", line)
    sub(/ *\*\/.*/, "", line)
    return line
}
FNR == 1 && FILENAME ~ /test_/ {
    delete seen
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.c$/, "", name)
    target = build "/unit/" name
    print target ":" objects(FILENAME " " inside($0, "links") " " common)
}
FNR == 2 && FILENAME ~ /test_/ {
    libs = inside($0, "libs")
    if (libs != "")
        print target ": UNIT_LIBS := " libs
}

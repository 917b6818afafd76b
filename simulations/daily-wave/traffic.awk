# Makes traffic.csv: awk -f traffic.awk > traffic.csv
# A working day drawn by hand as straight lines between (hour, requests/s), with noise of a fixed seed on top: the
# Lehmer generator x' = 16807 x mod (2^31 - 1), whose numbers every awk computes exactly. One row each 15 minutes.
function noise() { seed = (seed * 16807) % 2147483647; return seed / 2147483647 * 2 - 1 }
BEGIN {
    seed = 365
    points = split("0 5 7 10 12 13 16 20 22 24", at, " ")
    split("14 9 16 62 70 55 68 80 40 16", rate, " ")
    print "# made by traffic.awk, seed " seed "; no recording of real users"
    print "seconds,requests_per_second"
    leg = 1
    for (quarter = 0; quarter <= 96; quarter++) {
        hour = quarter / 4
        while (leg < points - 1 && hour >= at[leg + 1]) leg++
        line = rate[leg] + (rate[leg + 1] - rate[leg]) * (hour - at[leg]) / (at[leg + 1] - at[leg])
        printf "%d,%.1f\n", quarter * 900, line * (1 + 0.06 * noise())
    }
}

# Makes traffic.csv: awk -f traffic.awk > traffic.csv
# A flash crowd drawn by hand as straight lines between (second, requests/s), with noise of a fixed seed on top: the
# Lehmer generator x' = 16807 x mod (2^31 - 1), whose numbers every awk computes exactly.
function noise() { seed = (seed * 16807) % 2147483647; return seed / 2147483647 * 2 - 1 }
BEGIN {
    seed = 2026
    points = split("0 22 37 112 127 195", at, " ")
    split("14.5 14.5 130 127 14.5 14.5", rate, " ")
    print "# made by traffic.awk, seed " seed "; no recording of real users"
    print "seconds,requests_per_second"
    leg = 1
    for (second = 0; second <= 195; second++) {
        while (leg < points - 1 && second >= at[leg + 1]) leg++
        line = rate[leg] + (rate[leg + 1] - rate[leg]) * (second - at[leg]) / (at[leg + 1] - at[leg])
        printf "%d,%.1f\n", second, line * (1 + 0.025 * noise())
    }
}

# Draws a scenario's traffic.csv; each README has its command. Straight lines between points (`at`: seconds, `rate`:
# requests a second), a row each `step` seconds, with noise of a fixed seed on top: the Lehmer generator
# x' = 16807 x mod (2^31 - 1), whose numbers every awk computes exactly.
function noise() { state = (state * 16807) % 2147483647; return state / 2147483647 * 2 - 1 }
BEGIN {
    state = seed
    points = split(at, time, " ")
    split(rate, height, " ")
    print "# made by traffic.awk, seed " seed "; no recording of real users"
    print "seconds,requests_per_second"
    leg = 1
    for (second = 0; second <= time[points]; second += step) {
        while (leg < points - 1 && second >= time[leg + 1]) leg++
        line = height[leg] + (height[leg + 1] - height[leg]) * (second - time[leg]) / (time[leg + 1] - time[leg])
        printf "%d,%.1f\n", second, line * (1 + share * noise())
    }
}

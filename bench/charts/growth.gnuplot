# growth.gnuplot - the time of a change against the number of functions in its set, and what linear growth would be.

name = 'growth'
height = 560
heading = 'What a change of a set costs'
subheading = 'time for all its functions; median and middle half; logarithmic scales'
load 'style.gnuplot'

stats 'growth.dat' using 1:2 nooutput name 'all'
linear(n) = all_max_y * n / all_max_x # through the point at the upper right

set logscale xy
set xrange [all_min_x / 1.5 : all_max_x * 1.5]
set yrange [0.99 * 10 ** floor(log10(all_min_y)) : 1.01 * 10 ** ceil(log10(all_max_y))]
set xlabel 'functions in the set' offset 0,-0.3
set xtics @counts
set ytics @times
set key left top reverse Left
set lmargin at screen 0.09
set rmargin at screen 0.97

plot linear(x) with lines linecolor rgb grey linewidth 1.5 dashtype 2 title 'linear', \
	for [i = 1 : all_blocks] 'growth.dat' index i - 1 using 1:3:(0):($4 - $3) with vectors nohead \
		linecolor rgb series_colour(i) linewidth 1.5 notitle, \
	for [i = 1 : all_blocks] 'growth.dat' index i - 1 using 1:2 with linespoints \
		linecolor rgb series_colour(i) linewidth 2 pointtype series_point(i) pointsize 0.8 title columnheader(2)

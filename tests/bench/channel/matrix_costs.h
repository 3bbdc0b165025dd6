/* matrix_costs.h - what a post and an event cost in a matrix of N vCPUs (mm/matrix.h), in instructions: exact, counted by
 * single steps. Prints a table. */
#pragma once
void matrix_costs(void);

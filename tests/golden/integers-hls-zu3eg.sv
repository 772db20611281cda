// 19 gates in 3 cycles; one inference a cycle. A stall stops every stage.
module test (
    input  logic clk,
    input  logic rst,
    input  logic [23:0] s0_data,
    input  logic s0_valid,
    output logic s0_ready,
    output logic [27:0] m0_data,
    output logic m0_valid,
    input  logic m0_ready
);
    logic [23:0] in0;
    wire signed [7:0] g0 = in0[0+:8];
    wire signed [7:0] g1 = in0[8+:8];
    wire signed [7:0] g2 = in0[16+:8];
    wire signed [8:0] g3 = (9'(g0) <<< 0) - (9'(g2) <<< 0);
    wire signed [8:0] g4 = (9'(g0) <<< 0) + (9'(g2) <<< 0);
    wire signed [9:0] g5 = (10'(g1) <<< 0) + (10'(g4) <<< 0);
    wire signed [8:0] g7 = (9'($signed(2'h1)) <<< 2) - (9'(g1) <<< 0);
    wire signed [9:0] g8 = (10'(g4) <<< 0) + (10'(g7) <<< 0);
    wire signed [10:0] g9 = (11'(g8) <<< 0) - (11'(g0) <<< 2);
    wire signed [11:0] g10 = 12'(g9) <<< 1;
    logic signed [11:0] g10_1;
    wire signed [9:0] g11 = (10'($signed(2'h1)) <<< 1) - (10'(g3) <<< 0);
    wire signed [11:0] g12 = (12'(g11) <<< 2) - (12'(g5) <<< 0);
    logic signed [11:0] g12_1;
    wire signed [11:0] g13 = 12'(g11) <<< 2;
    wire signed [11:0] g14 = (12'(g5) <<< 0) + (12'(g11) <<< 2);
    logic signed [11:0] g14_1;
    wire [6:0] g15 = (g10_1[11]) ? 7'h0 : 7'($signed(({g10_1[11], g10_1[11:4]} & {8'hff, |g10_1[3:0]})));
    logic [6:0] g15_2;
    wire [6:0] g16 = (g12_1[11]) ? 7'h0 : 7'($signed(({g12_1[11], g12_1[11:4]} & {8'hff, |g12_1[3:0]})));
    logic [6:0] g16_2;
    wire [6:0] g17 = (g13[11]) ? 7'h0 : 7'($signed(({g13[11], g13[11:4]} & {8'hff, |g13[3:0]})));
    logic [6:0] g17_1;
    logic [6:0] g17_2;
    wire [6:0] g18 = (g14_1[11]) ? 7'h0 : 7'($signed(({g14_1[11], g14_1[11:4]} & {8'hff, |g14_1[3:0]})));
    logic [6:0] g18_2;
    assign m0_data[0+:7] = 7'($signed({1'b0, g15_2}));
    assign m0_data[7+:7] = 7'($signed({1'b0, g16_2}));
    assign m0_data[14+:7] = 7'($signed({1'b0, g17_2}));
    assign m0_data[21+:7] = 7'($signed({1'b0, g18_2}));
    logic [2:0] valid;
    wire go = (m0_ready || !m0_valid);
    assign s0_ready = go && !rst;
    assign m0_valid = valid[2];
    always_ff @(posedge clk) begin
        if (rst) valid <= '0;
        else if (go) valid <= {valid[1:0], s0_valid};
        if (go) begin
            in0 <= s0_data;
            g10_1 <= g10;
            g12_1 <= g12;
            g14_1 <= g14;
            g15_2 <= g15;
            g16_2 <= g16;
            g17_1 <= g17;
            g17_2 <= g17_1;
            g18_2 <= g18;
        end
    end
endmodule

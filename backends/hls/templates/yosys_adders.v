// Each addition as one carry chain. Left alone, yosys merges additions in a row into compressors: a third more lookup tables on 6-input parts.
(* techmap_celltype = "$add $sub" *)
module mlcc_add (A, B, Y);
    parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
    parameter _TECHMAP_CELLTYPE_ = "";
    localparam minus = _TECHMAP_CELLTYPE_ == "$sub" ? 1'b1 : 1'b0;
    input [A_WIDTH-1:0] A;
    input [B_WIDTH-1:0] B;
    output [Y_WIDTH-1:0] Y;
    wire [Y_WIDTH-1:0] x, co;
    \$alu #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH))
        _TECHMAP_REPLACE_ (.A(A), .B(B), .CI(minus), .BI(minus), .X(x), .CO(co), .Y(Y));
endmodule

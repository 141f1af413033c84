// OpenVINO's operations for products with quantised matrices, and for what stands between them.
//
// Matrices are part of a node, not inputs, so that the graph has nothing more to convert or to copy. The first
// input is x, `[..., columns]`. The second, if there is one, is a number of rows at the end that need no results: these
// get zeros.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include <openvino/op/op.hpp>

#include "activation.hpp"
#include "instructions.hpp"
#include "kernels.hpp"
#include "scores.hpp"

namespace crossette {

using Matrices = std::vector<std::shared_ptr<const Panels>>;

class MatricesOp : public ov::op::Op {
public:
    OPENVINO_OP("MatricesOp", "crossette")

    MatricesOp() = default;
    MatricesOp(const ov::OutputVector& inputs, std::shared_ptr<const Matrices> matrices)
        : Op(inputs), _matrices(std::move(matrices)) {}

    // Nodes of the same type, inputs and attributes are merged, so the matrices must be among these.
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        auto matrices = static_cast<int64_t>(reinterpret_cast<intptr_t>(_matrices.get()));
        visitor.on_attribute("matrices", matrices);
        int64_t bytes = 0;  // of memory
        for (const auto& panels : *_matrices) bytes += panels->count * panels->panel_bytes;
        visitor.on_attribute("bytes", bytes);
        return true;
    }

    bool has_evaluate() const override { return true; }

    const std::shared_ptr<const Matrices>& matrices() const { return _matrices; }

protected:
    const Panels& matrix(size_t index) const { return *(*_matrices)[index]; }

    // The shape of an output of `outputs` columns.
    ov::PartialShape shape_of(size_t outputs) const {
        auto shape = get_input_partial_shape(0);
        OPENVINO_ASSERT(_matrices && get_input_element_type(0) == ov::element::f32 && shape.rank().is_static());
        OPENVINO_ASSERT(get_input_size() == 1 || get_input_element_type(1) == ov::element::i32);
        OPENVINO_ASSERT(shape[shape.size() - 1].compatible(matrix(0).columns), "matrices of another number of columns");
        shape[shape.size() - 1] = outputs;
        return shape;
    }

    // The number of rows that need results.
    size_t rows_of(const ov::TensorVector& inputs) const {
        const size_t rows = inputs[0].get_size() / matrix(0).columns;
        const size_t skipped = inputs.size() > 1 ? *static_cast<const ov::Tensor&>(inputs[1]).data<const int32_t>() : 0;
        return rows - std::min(rows, skipped);
    }

    static const float* x_of(const ov::TensorVector& inputs) {
        return static_cast<const ov::Tensor&>(inputs[0]).data<const float>();
    }

    // Where the results of the first rows go; those of the others are made zero.
    static float* results_of(ov::Tensor& output, const ov::Tensor& x, size_t rows, size_t outputs) {
        auto shape = x.get_shape();
        shape.back() = outputs;
        output.set_shape(shape);
        float* results = output.data<float>();
        std::fill(results + rows * outputs, results + output.get_size(), 0.0f);
        return results;
    }

private:
    std::shared_ptr<const Matrices> _matrices;
};

// The products of x with transposed matrices, an output for each.
class QuantisedProduct : public MatricesOp {
public:
    OPENVINO_OP("QuantisedProduct", "crossette", MatricesOp)

    QuantisedProduct() = default;
    QuantisedProduct(const ov::OutputVector& inputs, std::shared_ptr<const Matrices> matrices)
        : MatricesOp(inputs, std::move(matrices)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        for (size_t index = 0; index < matrices()->size(); index++)
            set_output_type(index, ov::element::f32, shape_of(matrix(index).outputs));
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<QuantisedProduct>(inputs, matrices());
    }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const size_t rows = rows_of(inputs);
        RowsInGroups x(x_of(inputs), rows, matrix(0).columns);
        std::vector<Product> products;
        for (size_t index = 0; index < outputs.size(); index++) {
            const Panels& panels = matrix(index);
            float* results = results_of(outputs[index], inputs[0], rows, panels.outputs);
            products.push_back({&panels, x.of(panels.group), results});
        }
        multiply(products, rows);
        return true;
    }
};

// A feed-forward network of three matrices: `down(silu(gate(x)) * up(x))`.
class GatedProduct : public MatricesOp {
public:
    OPENVINO_OP("GatedProduct", "crossette", MatricesOp)

    GatedProduct() = default;
    GatedProduct(const ov::OutputVector& inputs, std::shared_ptr<const Matrices> matrices)
        : MatricesOp(inputs, std::move(matrices)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override { set_output_type(0, ov::element::f32, shape_of(matrix(2).outputs)); }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<GatedProduct>(inputs, matrices());
    }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Panels &gate = matrix(0), &up = matrix(1), &down = matrix(2);
        const size_t rows = rows_of(inputs), hidden = rows * down.columns;
        const auto gated = std::make_unique_for_overwrite<float[]>(hidden);
        const auto scaled = std::make_unique_for_overwrite<float[]>(hidden);
        {
            RowsInGroups x(x_of(inputs), rows, gate.columns);
            multiply({{&gate, x.of(gate.group), gated.get()}, {&up, x.of(up.group), scaled.get()}}, rows);
        }
        activate(gated.get(), scaled.get(), gated.get(), hidden);
        const Rows x(gated.get(), rows, down.columns, down.group);
        multiply({{&down, &x, results_of(outputs[0], inputs[0], rows, down.outputs)}}, rows);
        return true;
    }
};

// Scores of tokens, `[rows, 4]`, of which the numbers are those of a Score: the second input has a token for each row.
class TokenScores : public MatricesOp {
public:
    OPENVINO_OP("TokenScores", "crossette", MatricesOp)

    TokenScores() = default;
    TokenScores(const ov::OutputVector& inputs, std::shared_ptr<const Matrices> matrices)
        : MatricesOp(inputs, std::move(matrices)) {
        constructor_validate_and_infer_types();
    }

    void validate_and_infer_types() override {
        OPENVINO_ASSERT(get_input_size() == 2 && get_input_partial_shape(0).rank() == 2);
        set_output_type(0, ov::element::f32, shape_of(sizeof(Score) / sizeof(float)));
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<TokenScores>(inputs, matrices());
    }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Panels& head = matrix(0);
        const size_t rows = inputs[0].get_size() / head.columns;
        OPENVINO_ASSERT(inputs[1].get_size() == rows);
        outputs[0].set_shape({rows, sizeof(Score) / sizeof(float)});
        const Rows x(x_of(inputs), rows, head.columns, head.group);
        const auto tokens = static_cast<const ov::Tensor&>(inputs[1]).data<const int32_t>();
        score(head, x, rows, tokens, reinterpret_cast<Score*>(outputs[0].data<float>()));
        return true;
    }
};

// `silu(gate) * up`, with the numbers that GatedProduct computes, where something else reads its products too.
class GatedActivation : public ov::op::Op {
public:
    OPENVINO_OP("GatedActivation", "crossette")

    GatedActivation() = default;
    explicit GatedActivation(const ov::OutputVector& inputs) : Op(inputs) { constructor_validate_and_infer_types(); }

    void validate_and_infer_types() override {
        const auto shape = get_input_partial_shape(0);
        OPENVINO_ASSERT(get_input_size() == 2 && shape.compatible(get_input_partial_shape(1)));
        for (size_t port = 0; port < 2; port++) OPENVINO_ASSERT(get_input_element_type(port) == ov::element::f32);
        OPENVINO_ASSERT(shape.rank().is_static() && shape[shape.size() - 1].is_static());
        OPENVINO_ASSERT(shape[shape.size() - 1].get_length() % LANES == 0);
        set_output_type(0, ov::element::f32, shape);
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<GatedActivation>(inputs);
    }

    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const ov::Tensor &gate = inputs[0], &up = inputs[1];
        OPENVINO_ASSERT(gate.get_shape() == up.get_shape());
        outputs[0].set_shape(gate.get_shape());
        activate(gate.data<const float>(), up.data<const float>(), outputs[0].data<float>(), up.get_size());
        return true;
    }
};

}  // namespace crossette

// The operations as an extension of OpenVINO, which makes nodes from constants.
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/constant.hpp>

#include "operations.hpp"
#include "program.hpp"

namespace crossette {

// Makes a node from x, the number of rows without results (any constant if there are none), and three constants for
// each matrix.
template <class Operation>
class MatricesExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return Operation::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor&) const override {
        OPENVINO_ASSERT(inputs.size() >= 5 && inputs.size() % 3 == 2);
        const auto matrices = std::make_shared<Matrices>();
        for (size_t port = 2; port < inputs.size(); port += 3)
            matrices->push_back(matrix(inputs, port));
        check(*matrices);
        const bool all_rows = ov::as_type_ptr<Constant>(inputs[1].get_node_shared_ptr()) != nullptr;
        const auto own = all_rows ? ov::OutputVector{inputs[0]} : ov::OutputVector{inputs[0], inputs[1]};
        return std::make_shared<Operation>(own, matrices)->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }

private:
    static void check(const Matrices& matrices) {
        if constexpr (std::is_same_v<Operation, GatedProduct>) {
            OPENVINO_ASSERT(matrices.size() == 3);
            const Panels &gate = *matrices[0], &up = *matrices[1], &down = *matrices[2];
            OPENVINO_ASSERT(gate.columns == up.columns && gate.outputs == down.columns && up.outputs == down.columns);
        } else {
            for (const auto& matrix : matrices) OPENVINO_ASSERT(matrix->columns == matrices.front()->columns);
        }
    }
};

// Makes a node from hidden states, tokens, and a product whose matrix is the head.
class ScoresExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return TokenScores::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor&) const override {
        OPENVINO_ASSERT(inputs.size() == 3);
        const auto head = ov::as_type_ptr<QuantisedProduct>(inputs[2].get_node_shared_ptr());
        OPENVINO_ASSERT(head && head->matrices()->size() == 1);
        const ov::OutputVector own{inputs[0], inputs[1]};
        return std::make_shared<TokenScores>(own, head->matrices())->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }
};

// Makes a node from the inputs that it has, followed by the constants of its program.
class LayersExtension : public ov::BaseOpExtension {
public:
    const ov::DiscreteTypeInfo& get_type_info() const override { return DecoderLayers::get_type_info_static(); }

    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor& visitor) const override {
        std::vector<int64_t> numbers;
        visitor.on_attribute("program", numbers);
        const auto program = ProgramReader(numbers, inputs).read();
        const size_t own = program->inputs + 3 + 2 * program->tables;
        OPENVINO_ASSERT(own <= inputs.size());
        const ov::OutputVector read(inputs.begin(), inputs.begin() + own);
        return std::make_shared<DecoderLayers>(read, program)->outputs();
    }

    std::vector<ov::Extension::Ptr> get_attached_extensions() const override { return {}; }
};

inline std::vector<ov::Extension::Ptr> extensions() {
    return {std::make_shared<MatricesExtension<QuantisedProduct>>(),
            std::make_shared<MatricesExtension<GatedProduct>>(),
            std::make_shared<ov::OpExtension<GatedActivation>>(),
            std::make_shared<ScoresExtension>(),
            std::make_shared<LayersExtension>()};
}

}  // namespace crossette

OPENVINO_CREATE_EXTENSIONS(crossette::extensions());
